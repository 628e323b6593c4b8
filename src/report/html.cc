#include "report/html.h"

#include <string_view>

#include "core/check.h"
#include "report/audit_json.h"
#include "report/page.h"

namespace assay {
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

}  // namespace

std::string AuditHtml(const AuditResult& audit) {
  const std::string title = EscapeHtml(audit.title);
  const std::string advice = EscapeHtml(audit.advice.sentence);
  const std::string json = EscapeScriptJson(AuditJson(audit, false));
  const std::string libraries = std::string(page::d3()) + "\n" + std::string(page::plot());

  std::string out;
  std::string_view rest = page::html();
  while (!rest.empty()) {
    const size_t at = rest.find('@');
    if (at == std::string_view::npos) break;
    out += rest.substr(0, at);
    rest.remove_prefix(at + 1);
    const size_t end = rest.find('@');
    ASSAY_CHECK(end != std::string_view::npos, "the page template has an unpaired @");
    const std::string_view name = rest.substr(0, end);
    if (name == "TITLE") out += title;
    else if (name == "ADVICE") out += advice;
    else if (name == "STYLE") out += page::css();
    else if (name == "AUDIT") out += json;
    else if (name == "LIBRARIES") out += libraries;
    else if (name == "SCRIPT") out += page::script();
    else ASSAY_CHECK(false, "the page template names an unknown part");
    rest.remove_prefix(end + 1);
  }
  out += rest;
  return out;
}

}  // namespace assay
