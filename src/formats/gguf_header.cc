// Model shapes from the header of a GGUF file (versions 2 and 3; the format: ggml's docs/gguf.md). Only metadata and
// tensor descriptions are read, never weights. Every length comes from the file and is believed only as far as there
// are bytes left.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <variant>

#include "formats/hf_family.h"
#include "formats/model_spec.h"
#include "formats/text.h"

namespace assay::formats {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian and read as such");

constexpr uint64_t kMostKeys = 65536;
constexpr uint64_t kMostTensors = 1000000;
constexpr size_t kLongestName = 4096;

// The types of metadata values, by their numbers in the file.
enum class GgufType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };

size_t SizeOf(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    default:
      return 0;
  }
}

// Bytes and elements of a block of a tensor type (ggml.h, enum ggml_type); 0 elements: unknown.
struct BlockSize {
  double bytes;
  double elements;
};
BlockSize BlockOf(uint32_t ggml_type) {
  switch (ggml_type) {
    case 0:
      return {4, 1};  // F32
    case 1:
      return {2, 1};  // F16
    case 2:
      return {18, 32};  // Q4_0
    case 3:
      return {20, 32};  // Q4_1
    case 6:
      return {22, 32};  // Q5_0
    case 7:
      return {24, 32};  // Q5_1
    case 8:
      return {34, 32};  // Q8_0
    case 9:
      return {36, 32};  // Q8_1
    case 10:
      return {84, 256};  // Q2_K
    case 11:
      return {110, 256};  // Q3_K
    case 12:
      return {144, 256};  // Q4_K
    case 13:
      return {176, 256};  // Q5_K
    case 14:
      return {210, 256};  // Q6_K
    case 15:
      return {292, 256};  // Q8_K
    case 20:
      return {18, 32};  // IQ4_NL
    case 23:
      return {136, 256};  // IQ4_XS
    case 24:
      return {1, 1};  // I8
    case 25:
      return {2, 1};  // I16
    case 26:
      return {4, 1};  // I32
    case 27:
      return {8, 1};  // I64
    case 28:
      return {8, 1};  // F64
    case 30:
      return {2, 1};  // BF16
    case 39:
      return {17, 32};  // MXFP4
    default:
      return {0, 0};
  }
}

struct GgufArray {
  GgufType type;
  uint64_t count = 0;
  std::vector<double> numbers;  // of the first values, where they are numbers
};
using GgufValue = std::variant<double, std::string, GgufArray>;

class GgufReader {
 public:
  GgufReader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  Status ReadHeader() {
    if (bytes_.size() < 4 || bytes_.substr(0, 4) != "GGUF")
      return Bad("does not begin with 'GGUF'; is it a GGUF file?");
    at_ = 4;
    ASSAY_TRY(const auto version, Take<uint32_t>());
    if (version != 2 && version != 3)
      return Bad(fmt::format("GGUF version {} (of {}-endian bytes?); versions 2 and 3 are read", version,
                             version > 0xffff ? "big" : "little"));
    ASSAY_TRY(tensor_count_, Take<uint64_t>());
    ASSAY_TRY(const auto key_count, Take<uint64_t>());
    if (key_count > kMostKeys || tensor_count_ > kMostTensors)
      return Bad(fmt::format("claims {} keys and {} tensors; the file is damaged", key_count, tensor_count_));
    for (uint64_t i = 0; i < key_count; ++i) {
      ASSAY_TRY(std::string key, TakeString(kLongestName));
      ASSAY_TRY(const auto type, Take<uint32_t>());
      ASSAY_TRY(GgufValue value, TakeValue(type));
      values_.insert_or_assign(std::move(key), std::move(value));
    }
    return Ok();
  }

  // The first key that starts so; empty if none does.
  [[nodiscard]] std::string KeyThatStarts(const std::string& start) const {
    const auto at = values_.lower_bound(start);
    return at != values_.end() && at->first.rfind(start, 0) == 0 ? at->first : std::string();
  }

  // The tensors' parameters and bytes, as their descriptions tell. Nothing where the header is cut off before their
  // end, or has a type that is not in our table.
  std::optional<BlockSize> SumTensors() {
    BlockSize sum{0, 0};
    for (uint64_t i = 0; i < tensor_count_; ++i) {
      auto name = TakeString(kLongestName);
      auto rank = Take<uint32_t>();
      if (!name.ok() || !rank.ok() || *rank > 8) return std::nullopt;
      double elements = 1;
      for (uint32_t axis = 0; axis < *rank; ++axis) {
        auto extent = Take<uint64_t>();
        if (!extent.ok() || *extent > (uint64_t{1} << 40)) return std::nullopt;
        elements *= static_cast<double>(*extent);
      }
      auto type = Take<uint32_t>();
      auto offset = Take<uint64_t>();
      if (!type.ok() || !offset.ok()) return std::nullopt;
      const BlockSize block = BlockOf(*type);
      if (block.elements == 0) return std::nullopt;
      has_output_ = has_output_ || *name == "output.weight";
      sum.elements += elements;
      sum.bytes += elements / block.elements * block.bytes;
    }
    return sum;
  }
  [[nodiscard]] bool has_output() const { return has_output_; }

  const GgufValue* Find(const std::string& key) const {
    const auto found = values_.find(key);
    return found == values_.end() ? nullptr : &found->second;
  }
  Error Bad(std::string message) const { return BadInput(fmt::format("{}: byte {}: {}", path_, at_, message)); }

 private:
  template <class T>
  Result<T> Take() {
    if (bytes_.size() - at_ < sizeof(T)) return Bad("the header ends here; the file is cut short");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  Result<std::string> TakeString(size_t longest) {
    ASSAY_TRY(const auto length, Take<uint64_t>());
    if (length > longest) return Bad(fmt::format("a name of {} bytes; the file is damaged", length));
    if (bytes_.size() - at_ < length) return Bad("the header ends inside a text; the file is cut short");
    std::string text(bytes_.substr(at_, length));
    at_ += length;
    return text;
  }
  Result<double> TakeNumber(GgufType type) {
    switch (type) {
      case GgufType::kU8:
      case GgufType::kBool:
        return As<uint8_t>();
      case GgufType::kI8:
        return As<int8_t>();
      case GgufType::kU16:
        return As<uint16_t>();
      case GgufType::kI16:
        return As<int16_t>();
      case GgufType::kU32:
        return As<uint32_t>();
      case GgufType::kI32:
        return As<int32_t>();
      case GgufType::kF32:
        return As<float>();
      case GgufType::kU64:
        return As<uint64_t>();
      case GgufType::kI64:
        return As<int64_t>();
      case GgufType::kF64:
        return As<double>();
      default:
        return Bad("not a number");
    }
  }
  template <class T>
  Result<double> As() {
    ASSAY_TRY(const T value, Take<T>());
    return static_cast<double>(value);
  }
  Result<GgufValue> TakeValue(uint32_t type_number) {
    if (type_number > static_cast<uint32_t>(GgufType::kF64))
      return Bad(fmt::format("a value of unknown type {}; the file is damaged", type_number));
    const auto type = static_cast<GgufType>(type_number);
    if (type == GgufType::kString) {
      ASSAY_TRY(std::string text, TakeString(16 * kMegabyte));
      return GgufValue(std::move(text));
    }
    if (type == GgufType::kArray) return TakeArray();
    ASSAY_TRY(const double number, TakeNumber(type));
    return GgufValue(number);
  }
  Result<GgufValue> TakeArray() {
    ASSAY_TRY(const auto type_number, Take<uint32_t>());
    GgufArray array;
    array.type = static_cast<GgufType>(type_number);
    ASSAY_TRY(array.count, Take<uint64_t>());
    if (type_number > static_cast<uint32_t>(GgufType::kF64) || array.type == GgufType::kArray)
      return Bad(fmt::format("an array of type {}, which no model has; the file is damaged", type_number));
    // The smallest element takes a byte (a text: its length of 8), so a count beyond the bytes left is a lie.
    const size_t smallest = array.type == GgufType::kString ? 8 : SizeOf(array.type);
    if (array.count > (bytes_.size() - at_) / smallest)
      return Bad(fmt::format("an array of {} values in {} bytes; the file is cut short or damaged", array.count,
                             bytes_.size() - at_));
    constexpr uint64_t kKept = 10000;  // per-layer values are wanted, tokens are not
    for (uint64_t i = 0; i < array.count; ++i) {
      if (array.type == GgufType::kString) {
        ASSAY_TRY(const auto length, Take<uint64_t>());
        if (bytes_.size() - at_ < length) return Bad("the header ends inside a text; the file is cut short");
        at_ += length;
      } else if (i < kKept) {
        ASSAY_TRY(const double number, TakeNumber(array.type));
        array.numbers.push_back(number);
      } else {
        at_ += (array.count - i) * SizeOf(array.type);
        break;
      }
    }
    return GgufValue(std::move(array));
  }

  std::string_view bytes_;
  const std::string& path_;
  size_t at_ = 0;
  uint64_t tensor_count_ = 0;
  bool has_output_ = false;
  std::map<std::string, GgufValue> values_;
};

// The metadata of one architecture ("llama.block_count"), with the first mistake kept.
class Metadata {
 public:
  Metadata(const GgufReader& reader, std::string path, std::string architecture)
      : reader_(reader), path_(std::move(path)), architecture_(std::move(architecture)) {}

  [[nodiscard]] const Status& status() const { return status_; }
  void Fail(std::string message) {
    if (status_.ok()) status_ = BadInput(fmt::format("{}: {}", path_, message));
  }
  // A number, or the largest of an array (files with different layers give one value a layer).
  std::optional<double> Number(std::string_view key) const {
    const GgufValue* value = reader_.Find(fmt::format("{}.{}", architecture_, key));
    if (value == nullptr) return std::nullopt;
    if (const auto* number = std::get_if<double>(value)) return *number;
    const auto* array = std::get_if<GgufArray>(value);
    if (array == nullptr || array->numbers.empty()) return std::nullopt;
    double largest = array->numbers[0];
    for (const double number : array->numbers) largest = std::max(largest, number);
    return largest;
  }
  // Whether an array gives one layer another value than its neighbour's.
  [[nodiscard]] bool Differs(std::string_view key) const {
    const GgufValue* value = reader_.Find(fmt::format("{}.{}", architecture_, key));
    const auto* array = value ? std::get_if<GgufArray>(value) : nullptr;
    return array != nullptr && std::adjacent_find(array->numbers.begin(), array->numbers.end(), std::not_equal_to<>()) != array->numbers.end();
  }
  std::optional<int64_t> Int(std::string_view key) {
    const auto number = Number(key);
    if (!number) return std::nullopt;
    if (!(*number >= 0 && *number <= 1e12)) {
      Fail(fmt::format("'{}.{}' is {}; no model is that large", architecture_, key, *number));
      return std::nullopt;
    }
    return static_cast<int64_t>(*number);
  }
  int64_t Need(std::string_view key) {
    const auto value = Int(key);
    if (!value)
      Fail(fmt::format("metadata '{}.{}' is missing; is this the file of a language model?", architecture_, key));
    return value.value_or(0);
  }

 private:
  const GgufReader& reader_;
  std::string path_;
  std::string architecture_;
  Status status_ = Ok();
};

// The architectures (llama.cpp, src/llama-arch.cpp) whose rules are written down here.
bool IsKnownArchitecture(std::string_view name) {
  constexpr std::string_view kKnown[] = {"deepseek2", "gemma", "gemma2", "gemma3", "gpt-oss", "granite", "llama",
                                         "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe"};
  return std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown);
}

// Why a file is not the transformer that would be read from it; empty if nothing speaks against it. Llama.cpp writes the state of recurrent
// layers under ssm and wkv, and one number of key heads a layer where some have none.
std::string WhyUnreadable(const GgufReader& reader, std::string_view architecture) {
  constexpr std::string_view kUngated[] = {"bert", "bloom", "codeshell", "falcon", "gpt2", "gptj", "gptneox", "jina-bert-v2", "mpt",
                                           "nemotron", "nomic-bert", "opt", "phi2", "starcoder", "starcoder2", "t5"};
  if (std::find(std::begin(kUngated), std::end(kUngated), architecture) != std::end(kUngated)) {
    return fmt::format("'general.architecture' is '{}', whose feed-forward part is two matrices without a gate; Assay models gated ones only", architecture);
  }
  for (const char* part : {"ssm.", "wkv.", "wkv_head_size", "rescale_every_n_layers", "shortconv."}) {
    const std::string start = fmt::format("{}.{}", architecture, part);
    if (const std::string key = reader.KeyThatStarts(start); !key.empty())
      return fmt::format("'{}' says that layers are recurrent, which is not read here; write a preset with a stack, as in models/", Printable(key));
  }
  const std::string heads = fmt::format("{}.attention.head_count_kv", architecture);
  const GgufValue* value = reader.Find(heads);
  const auto* each = value ? std::get_if<GgufArray>(value) : nullptr;
  if (each != nullptr && std::find(each->numbers.begin(), each->numbers.end(), 0.0) != each->numbers.end())
    return fmt::format("'{}' says that some layers have no key heads, which is not read; write a preset with a stack, as in models/", heads);
  if (IsKnownArchitecture(architecture)) return "";
  const std::string experts = reader.KeyThatStarts(fmt::format("{}.expert_count", architecture));
  if (!experts.empty()) {
    return fmt::format("'{}' is not read in a file of architecture '{}', which Assay does not know; write a preset, as in models/", Printable(experts), architecture);
  }
  return "";
}

// Which layers slide, by the code of llama.cpp, which knows it from the architecture.
void ReadWindow(Metadata* meta, ModelSpec* m) {
  m->layer_calls.assign(static_cast<size_t>(m->layers), {.id = m->mla ? "mla" : "gqa", .arguments = {}});
  const auto window = meta->Int("attention.sliding_window");
  if (!window || *window < 1 || m->mla) return;
  const int64_t period = m->family == "gemma3" ? 6 : m->family == "gemma2" || m->family == "gpt-oss" ? 2 : 0;
  if (period == 0) return;  // llama.cpp ignores the window of other architectures' files
  m->window_tokens = *window;
  for (size_t i = 0; i < m->layer_calls.size(); ++i) {
    if (static_cast<int64_t>(i + 1) % period != 0) m->layer_calls[i].id = "sliding_window";
  }
}

void ReadExperts(Metadata* meta, ModelSpec* m) {
  const auto experts = meta->Int("expert_count");
  if (!experts || *experts < 1) return;
  MoeShape moe;
  moe.experts = *experts;
  moe.experts_per_token = meta->Need("expert_used_count");
  moe.expert_ffn_dim = meta->Int("expert_feed_forward_length").value_or(m->ffn_dim);
  moe.shared_experts = meta->Int("expert_shared_count").value_or(0);
  moe.shared_expert_ffn_dim =
      meta->Int("expert_shared_feed_forward_length").value_or(moe.shared_experts > 0 ? moe.expert_ffn_dim : 0);
  moe.dense_layers = meta->Int("leading_dense_block_count").value_or(0);
  m->moe = moe;
}

void ReadLatent(Metadata* meta, ModelSpec* m) {
  const auto rank = meta->Int("attention.kv_lora_rank");
  if (!rank || *rank < 1) return;
  MlaShape mla;
  mla.kv_lora_rank = *rank;
  mla.q_lora_rank = meta->Int("attention.q_lora_rank").value_or(0);
  mla.qk_rope_head_dim = meta->Need("rope.dimension_count");
  // Newer files describe the absorbed form (one key head) and give the expanded widths beside it.
  const int64_t key = meta->Int("attention.key_length_mla").value_or(meta->Int("attention.key_length").value_or(0));
  mla.qk_nope_head_dim = key - mla.qk_rope_head_dim;
  mla.v_head_dim = meta->Int("attention.value_length_mla").value_or(meta->Int("attention.value_length").value_or(0));
  m->mla = mla;
  m->kv_heads = m->query_heads;
  m->head_dim = mla.v_head_dim;
}

}  // namespace

Result<ModelSpec> ParseGgufHeader(std::string_view bytes, const std::string& path) {
  GgufReader reader(bytes, path);
  ASSAY_RETURN_IF_ERROR(reader.ReadHeader());
  const auto text = [&](const char* key) {
    const GgufValue* value = reader.Find(key);
    const auto* found = value ? std::get_if<std::string>(value) : nullptr;
    return found ? Printable(*found) : std::string();
  };
  ModelSpec m;
  m.family = text("general.architecture");
  if (m.family.empty())
    return BadInput(
        fmt::format("{}: metadata 'general.architecture' is missing; is this the file of a language model?", path));
  m.name = text("general.name");
  if (m.name.empty()) m.name = std::filesystem::path(path).stem().string();
  m.source = path;
  if (const std::string why = WhyUnreadable(reader, m.family); !why.empty()) return BadInput(fmt::format("{}: {}", path, why));
  if (!IsKnownArchitecture(m.family)) m.notes.push_back(UnknownTypeNote("general.architecture", m.family, path));
  Metadata meta(reader, path, m.family);
  m.layers = meta.Need("block_count");
  m.model_dim = meta.Need("embedding_length");
  m.query_heads = meta.Need("attention.head_count");
  m.kv_heads = meta.Int("attention.head_count_kv").value_or(m.query_heads);
  if (meta.Differs("attention.head_count_kv"))
    m.notes.push_back(fmt::format("{}: layers have unequal numbers of key heads; the largest, {}, is taken for all, so the cache is counted too large", path, m.kv_heads));
  m.head_dim = meta.Int("attention.key_length").value_or(m.query_heads > 0 ? m.model_dim / m.query_heads : 0);
  m.ffn_dim = meta.Int("feed_forward_length").value_or(0);
  m.max_context_tokens = meta.Int("context_length");
  m.rope_theta = meta.Number("rope.freq_base");
  m.attention_softcap = meta.Number("attn_logit_softcapping");
  const GgufValue* tokens = reader.Find("tokenizer.ggml.tokens");
  const auto* token_list = tokens ? std::get_if<GgufArray>(tokens) : nullptr;
  m.vocabulary = token_list ? static_cast<int64_t>(token_list->count) : meta.Need("vocab_size");
  ReadLatent(&meta, &m);
  ReadExperts(&meta, &m);
  m.qk_norm = m.family == "qwen3" || m.family == "qwen3moe" || m.family == "gemma3";
  m.qkv_bias = m.family == "qwen2" || m.family == "gpt-oss";
  m.attention_output_bias = m.attention_sinks = m.family == "gpt-oss";
  m.four_norms_per_layer = m.family == "gemma2" || m.family == "gemma3";
  ASSAY_RETURN_IF_ERROR(meta.status());
  if (m.layers > 10000) return BadInput(fmt::format("{}: {} layers; at most 10000 are read", path, m.layers));
  ReadWindow(&meta, &m);
  CompleteLayerCalls(&m);
  if (const auto sum = reader.SumTensors(); sum && sum->elements > 0) {
    m.weight_bits = sum->bytes * 8 / sum->elements;
    m.tied_embeddings = !reader.has_output();
  }
  ASSAY_RETURN_IF_ERROR(meta.status());
  if (auto status = CheckModelSpec(m); !status.ok()) return std::move(status).TakeError().In(path);
  return m;
}

}  // namespace assay::formats
