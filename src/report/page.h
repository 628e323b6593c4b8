// The files of a report page, embedded by the build (cmake/AssayReport.cmake): template, style, scripts and the libraries it bundles; and
// how they become one page that loads nothing from elsewhere.
#pragma once

#include <string>
#include <string_view>

namespace assay::page {

std::string_view html();  // with @TITLE@, @KIND@, @FIRST@, @LEAD@, @STYLE@, @ID@, @DATA@, @LIBRARIES@ and @SCRIPT@ to fill in
std::string_view css();
std::string_view common();        // of all pages
std::string_view audit_script();  // draws an audit
std::string_view bench_script();  // draws a bench
std::string_view d3();
std::string_view plot();

struct Content {
  std::string_view kind;   // "audit", "bench": also the id of its data
  std::string_view first;  // id and name of what a reader skips to
  std::string_view title;
  std::string_view lead;  // the sentence above the fold
  std::string_view json;  // what the script draws
  std::string_view script;
};

// Texts are escaped here.
std::string Fill(const Content& content);

}  // namespace assay::page
