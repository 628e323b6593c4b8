#include "report/page.h"

#include "core/check.h"

namespace assay::page {
namespace {

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

// JSON inside a script element: only '<' can end it early, and JSON has an escape for it.
std::string EscapeScriptJson(std::string_view json) {
  std::string out;
  for (const char c : json) {
    if (c == '<') out += "\\u003c";
    else out += c;
  }
  return out;
}

void AppendPart(std::string& out, std::string_view name, const Content& content) {
  if (name == "TITLE") out += EscapeHtml(content.title);
  else if (name == "LEAD") out += EscapeHtml(content.lead);
  else if (name == "KIND" || name == "ID") out += content.kind;
  else if (name == "FIRST") out += content.first;
  else if (name == "STYLE") out += css();
  else if (name == "DATA") out += EscapeScriptJson(content.json);
  else if (name == "LIBRARIES") out.append(d3()).append("\n").append(plot());
  else if (name == "SCRIPT") out.append(common()).append(content.script);
  else ASSAY_CHECK(false, "the page template names an unknown part");
}

}  // namespace

std::string Fill(const Content& content) {
  std::string out;
  std::string_view rest = html();
  while (!rest.empty()) {
    const size_t at = rest.find('@');
    if (at == std::string_view::npos) break;
    out += rest.substr(0, at);
    rest.remove_prefix(at + 1);
    const size_t end = rest.find('@');
    ASSAY_CHECK(end != std::string_view::npos, "the page template has an unpaired @");
    AppendPart(out, rest.substr(0, end), content);
    rest.remove_prefix(end + 1);
  }
  out += rest;
  return out;
}

}  // namespace assay::page
