#include "core/json_number.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/quantity.h"

namespace assay {

nlohmann::json JsonNumber(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

nlohmann::json JsonNumberOrNull(double value) { return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(); }

nlohmann::json JsonEnvelope(std::string_view kind, int schema_version) {
  return {{"schema_version", schema_version}, {"kind", kind}};
}

nlohmann::json JsonQuantity(const Quantity& quantity) {
  nlohmann::json json = {{"unit", quantity.unit}, {"basis", NameOf(quantity.basis)}, {"origin", quantity.origin}};
  if (quantity.refused()) {
    json["value"] = nullptr;
    return json;
  }
  json["value"] = JsonNumber(quantity.value);
  json["low"] = JsonNumber(quantity.low);
  json["high"] = JsonNumber(quantity.high);
  return json;
}

}  // namespace assay
