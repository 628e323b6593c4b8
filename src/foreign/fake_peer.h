// For tests: an interpreter that ignores what it is told to run and runs a text of its own instead, in Python's standard library.
#pragma once

#include <sys/stat.h>

#include <fstream>
#include <string>

namespace assay::foreign {

// Its path. `folder` holds it and its text; json, os, signal, sys and time are imported.
inline std::string FakePython(const std::string& folder, const std::string& python_text) {
  const std::string script = folder + "/fake.py", interpreter = folder + "/python";
  std::ofstream(script) << "import json, os, signal, sys, time\n" << python_text;
  std::ofstream(interpreter) << "#!/bin/sh\nexec python3 -B " << script << "\n";
  chmod(interpreter.c_str(), 0700);
  return interpreter;
}

}  // namespace assay::foreign
