// A program of someone else's beside us, spoken to in lines: one asked, one answered, within a time limit. It may crash, hang or talk
// nonsense: each is an error with its reason, and none reaches us.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay::foreign {

// A folder that only its owner can enter, removed with all in it at the end.
class PrivateFolder {
 public:
  static Result<std::unique_ptr<PrivateFolder>> Make(std::string_view purpose);
  ~PrivateFolder();
  PrivateFolder(const PrivateFolder&) = delete;
  PrivateFolder& operator=(const PrivateFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  explicit PrivateFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

class ChildProcess {
 public:
  // command[0] is a path. What the child says on stderr goes to `stderr_path`; its last line joins the reason of a failure.
  static Result<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& command, const std::string& stderr_path);
  ~ChildProcess();  // kills it and what it started
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Sends the line and returns the next one. After an error the child is dead, and every later call gives the same error. `stop` is
  // asked ten times a second.
  Result<std::string> Ask(std::string_view line, double timeout_s, const std::function<bool()>& stop = {});

 private:
  ChildProcess(int pid, int socket, std::string stderr_path) : pid_(pid), socket_(socket), stderr_path_(std::move(stderr_path)) {}
  Status Send(std::string_view bytes, double until_s, const std::function<bool()>& stop);
  Status Await(short events, double until_s, const std::function<bool()>& stop);
  Error Ended();                    // how it ended by itself
  Error Fail(std::string reason);   // kills it and keeps the reason
  void Kill();

  int pid_;
  int socket_;
  std::string stderr_path_;
  std::string received_;  // beyond the last whole line
  std::string failure_;
};

}  // namespace assay::foreign
