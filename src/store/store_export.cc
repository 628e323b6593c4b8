// Export of measurements: one JSON object, or one CSV table in long form.
#include <nlohmann/json.hpp>

#include "core/json_number.h"
#include "fmt/format.h"
#include "store/metrics.h"
#include "store/schema.h"
#include "store/store_state.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json RowJson(const Measurement& m) {
  Json factors = Json::object();
  for (const Factor& factor : m.factors) factors[factor.name] = factor.value;
  Json row;
  row["run"] = m.run_id;
  row["cell"] = m.cell_key;
  row["mechanism"] = m.subject.mechanism;
  row["parameters"] = m.subject.parameters;
  row["implementation"] = m.subject.implementation;
  row["revision"] = m.subject.revision;
  row["kernel_hash"] = m.subject.kernel_hash;
  row["factors"] = std::move(factors);
  row["machine"] = m.machine;
  row["probe"] = m.probe;
  row["metric"] = m.metric;
  if (m.quantity.refused()) {
    row["value"] = nullptr;
  } else {
    row["value"] = JsonNumber(m.quantity.value);
    row["low"] = JsonNumber(m.quantity.low);
    row["high"] = JsonNumber(m.quantity.high);
  }
  row["unit"] = m.quantity.unit;
  row["basis"] = NameOf(m.quantity.basis);
  row["origin"] = m.quantity.origin;
  row["sample_count"] = m.sample_count;
  row["samples_artifact"] = m.samples_artifact;
  row["command"] = m.command;
  row["flags"] = m.flags;
  row["seed"] = m.seed;
  const auto provenance = Json::parse(m.provenance_json, nullptr, false);
  row["provenance"] = provenance.is_discarded() ? Json(m.provenance_json) : provenance;
  return row;
}

// RFC 4180: quotes doubled, a field with a separator, quote or line break in quotes.
std::string CsvField(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + "\"";
}

}  // namespace

Status Store::ExportJson(const Query& query, const Sink& write) const {
  ASSAY_TRY(const auto runs, Runs());
  ASSAY_TRY(const auto rows, Find(query));
  Json head = Json::array();
  for (const RunInfo& run : runs) {
    if (!query.run_id.empty() && run.id != query.run_id) continue;
    head.push_back({{"id", run.id},
                    {"command", run.start.command_line},
                    {"use_case_hash", run.start.use_case_hash},
                    {"plan_hash", run.start.plan_hash},
                    {"program_version", run.start.program_version},
                    {"created_utc", run.created_utc},
                    {"ended_utc", run.ended_utc},
                    {"status", NameOf(run.status)},
                    {"measurements", run.measurement_count}});
  }
  Json metrics = Json::object();
  for (const Measurement& row : rows) {
    if (const Metric* metric = FindMetric(row.metric); metric != nullptr && !metrics.contains(row.metric))
      metrics[row.metric] = {{"unit", metric->unit},
                             {"direction", NameOf(metric->direction)},
                             {"aggregation", NameOf(metric->aggregation)},
                             {"meaning", metric->meaning}};
  }
  write(fmt::format("{{\"schema_version\":{},\"runs\":{},\"metrics\":{},\"measurements\":[", kSchemaVersion, Dump(head), Dump(metrics)));
  for (size_t i = 0; i < rows.size(); ++i) write(fmt::format("{}\n{}", i == 0 ? "" : ",", Dump(RowJson(rows[i]))));
  write("\n]}\n");
  return Ok();
}

Status Store::ExportCsv(const Query& query, const Sink& write) const {
  ASSAY_TRY(const auto rows, Find(query));
  write("run,cell,mechanism,parameters,implementation,revision,kernel_hash,factors,machine,probe,metric,value,low,high,unit,basis,"
        "origin,sample_count,samples_artifact,command,flags,seed\n");
  for (const Measurement& m : rows) {
    std::string factors;
    for (const Factor& factor : m.factors) factors += fmt::format("{}{}={}", factors.empty() ? "" : ";", factor.name, factor.value);
    const bool refused = m.quantity.refused();
    const auto number = [refused](double value) { return refused ? std::string() : fmt::format("{}", value); };
    write(fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", CsvField(m.run_id), m.cell_key,
                      CsvField(m.subject.mechanism), CsvField(m.subject.parameters), CsvField(m.subject.implementation),
                      m.subject.revision, CsvField(m.subject.kernel_hash), CsvField(factors), CsvField(m.machine), CsvField(m.probe),
                      m.metric, number(m.quantity.value), number(m.quantity.low), number(m.quantity.high), CsvField(m.quantity.unit),
                      NameOf(m.quantity.basis), CsvField(m.quantity.origin), m.sample_count, m.samples_artifact, CsvField(m.command),
                      CsvField(m.flags), m.seed));
  }
  return Ok();
}

}  // namespace assay
