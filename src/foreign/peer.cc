#include "foreign/peer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "foreign/peer_scripts.h"

namespace assay::foreign {
namespace {

using Json = nlohmann::json;

Status WriteBytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) return EnvironmentError(fmt::format("cannot write {} bytes to {}; is the disk full?", bytes.size(), path));
  return Ok();
}

// An answer of the protocol, or the peer's reason for having none.
Result<Json> Exchange(ChildProcess& child, const Json& request, double timeout_s, const std::function<bool()>& stop) {
  ASSAY_TRY(const std::string line, child.Ask(request.dump(), timeout_s, stop));
  Json answer = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer.contains("ok") || !answer["ok"].is_boolean()) {
    return EnvironmentError(fmt::format("answered what is no answer: {}", line.substr(0, 100)));
  }
  if (!answer["ok"].get<bool>()) {
    const Json reason = answer.value("reason", Json());
    return EnvironmentError(reason.is_string() ? reason.get<std::string>() : "refused without a reason");
  }
  return answer;
}

Result<std::vector<float>> ReadAnswer(const std::string& path, size_t count) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) return EnvironmentError("left no answer");
  if (size != count * sizeof(float)) return EnvironmentError(fmt::format("its answer has {} numbers instead of {}", size / sizeof(float), count));
  std::vector<float> values(count);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(size));
  if (!in) return EnvironmentError("its answer cannot be read");
  return values;
}

}  // namespace

Result<std::unique_ptr<PeerHost>> PeerHost::Make(PeerHostOptions options) {
  if (access(options.python.c_str(), X_OK) != 0) {
    return EnvironmentError(fmt::format("the peers are not installed: there is no {}; run `./dev setup --peers`", options.python));
  }
  ASSAY_TRY(auto folder, PrivateFolder::Make("peers"));
  for (const PeerScript& script : PeerScripts()) {
    ASSAY_RETURN_IF_ERROR(WriteBytes(fmt::format("{}/{}", folder->path(), script.name), std::as_bytes(std::span(script.text))));
  }
  return std::unique_ptr<PeerHost>(new PeerHost(std::move(options), std::move(folder)));
}

Status PeerHost::SetRow(const PeerRow& row) {
  Json tensors = Json::object();
  for (const PeerTensor& tensor : row.tensors) {
    ASSAY_RETURN_IF_ERROR(WriteBytes(fmt::format("{}/{}", folder_->path(), tensor.role), tensor.bytes));
    tensors[std::string(tensor.role)] = {{"dtype", tensor.dtype == DType::kBf16 ? "bf16" : "fp32"}, {"shape", tensor.shape}, {"repeat", tensor.repeat}};
  }
  row_json_ = Json{{"family", row.family}, {"queries", row.queries}, {"keys", row.keys}, {"causal", row.causal}, {"scale", row.scale},
                   {"tensors", std::move(tensors)}}
                  .dump();
  return Ok();
}

Result<std::unique_ptr<Peer>> PeerHost::Prepare(std::string_view name, int threads, size_t answer_count) {
  const std::string answer_path = folder_->path() + "/answer";
  std::error_code ignored;
  std::filesystem::remove(answer_path, ignored);  // another peer's
  auto peer = std::make_unique<Peer>();
  // -E -s: neither PYTHONPATH nor the user's own packages take the place of the pinned ones.
  ASSAY_TRY(peer->child_, ChildProcess::Start({options_.python, "-E", "-s", "-B", folder_->path() + "/peer.py"}, fmt::format("{}/stderr_{}", folder_->path(), name)));
  const Json request = {{"do", "prepare"}, {"peer", name}, {"row", Json::parse(row_json_)}, {"folder", folder_->path()}, {"threads", threads}};
  ASSAY_TRY(const Json answer, Exchange(*peer->child_, request, options_.prepare_timeout_s, options_.stop));
  if (!answer.contains("implementation") || !answer["implementation"].is_string()) return EnvironmentError("does not say what it is");
  peer->implementation_ = answer["implementation"].get<std::string>();
  ASSAY_TRY(peer->answer_, ReadAnswer(answer_path, answer_count));
  peer->timeout_s_ = options_.time_timeout_s;
  peer->stop_ = options_.stop;
  return peer;
}

Result<double> Peer::Time(int64_t calls) {
  ASSAY_TRY(const Json answer, Exchange(*child_, {{"do", "time"}, {"calls", calls}}, timeout_s_, stop_));
  const Json seconds = answer.value("seconds", Json());
  if (!seconds.is_number() || !(seconds.get<double>() > 0) || !std::isfinite(seconds.get<double>())) {
    return EnvironmentError("gave a time that is none");
  }
  return seconds.get<double>();
}

}  // namespace assay::foreign
