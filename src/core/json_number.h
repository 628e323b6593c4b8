// Numbers and envelopes of JSON output. JSON has no NaN or infinity and the library writes null for them, which a reader takes for
// "absent"; here they are the strings "nan", "inf" and "-inf".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace assay {

nlohmann::json JsonNumber(double value);
// null where the value is none: for figures that may be unknown, as docs/schemas/ says of each.
nlohmann::json JsonNumberOrNull(double value);
// How documents that are kept (an audit, a card, an explanation) begin: {"schema_version": 1, "kind": "audit"}.
nlohmann::json JsonEnvelope(std::string_view kind, int schema_version = 1);

struct Quantity;
// {value, low, high, unit, basis, origin}; a refused quantity has no value but its reason as origin.
nlohmann::json JsonQuantity(const Quantity& quantity);

}  // namespace assay
