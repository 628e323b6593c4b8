// The audit on one screen: the advice, what it rests on, what is not known. Aligned plain text; colour only where the caller says so.
#pragma once

#include <string>

#include "advice/audit.h"

namespace assay {

enum class Colour { kNo, kYes };
// kYes if stdout is a terminal, NO_COLOR is unset or empty, and TERM is not "dumb".
Colour ColourOfStdout();

// At most `columns` wide where the words allow it.
std::string AuditText(const AuditResult& audit, Colour colour, int columns);

// A number for people: three significant digits, binary units for bytes, thousands separated.
std::string FormatNumber(double value, std::string_view unit);
// "8.1 [7.2, 8.8]"; "refused" for a refused quantity, ">= 3" for a lower bound.
std::string FormatQuantity(const Quantity& quantity);

}  // namespace assay
