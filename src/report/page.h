// The files of the report page, embedded by the build (cmake/AssayReport.cmake): template, style, script and the libraries it bundles.
#pragma once

#include <string_view>

namespace assay::page {

std::string_view html();  // with @TITLE@, @STYLE@, @ADVICE@, @AUDIT@, @LIBRARIES@ and @SCRIPT@ to fill in
std::string_view css();
std::string_view script();
std::string_view d3();
std::string_view plot();

}  // namespace assay::page
