// GGUF headers, written here byte by byte.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "formats/model_spec.h"

namespace assay::formats {
namespace {

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3) { version_ = version; }
  GgufWriter& Text(const std::string& key, const std::string& value) {
    Key(key, 8);
    Put(uint64_t{value.size()});
    keys_ += value;
    return *this;
  }
  GgufWriter& Int(const std::string& key, uint32_t value) {
    Key(key, 4);
    Put(value);
    return *this;
  }
  GgufWriter& Float(const std::string& key, float value) {
    Key(key, 6);
    Put(value);
    return *this;
  }
  GgufWriter& Tokens(uint64_t count) {
    Key("tokenizer.ggml.tokens", 9);
    Put(uint32_t{8});
    Put(count);
    for (uint64_t i = 0; i < count; ++i) {
      Put(uint64_t{1});
      keys_ += "t";
    }
    return *this;
  }
  GgufWriter& IntArray(const std::string& key, const std::vector<uint32_t>& values) {
    Key(key, 9);
    Put(uint32_t{4});
    Put(uint64_t{values.size()});
    for (const uint32_t value : values) Put(value);
    return *this;
  }
  // One two-dimensional tensor of a ggml type.
  GgufWriter& Tensor(const std::string& name, uint64_t rows, uint64_t columns, uint32_t type) {
    PutTo(&tensors_, uint64_t{name.size()});
    tensors_ += name;
    PutTo(&tensors_, uint32_t{2});
    PutTo(&tensors_, columns);
    PutTo(&tensors_, rows);
    PutTo(&tensors_, type);
    PutTo(&tensors_, uint64_t{0});
    ++tensor_count_;
    return *this;
  }
  std::string Bytes() const {
    std::string out = "GGUF";
    PutTo(&out, version_);
    PutTo(&out, tensor_count_);
    PutTo(&out, key_count_);
    return out + keys_ + tensors_;
  }

 private:
  template <class T>
  static void PutTo(std::string* out, T value) {
    out->append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  template <class T>
  void Put(T value) {
    PutTo(&keys_, value);
  }
  void Key(const std::string& key, uint32_t type) {
    Put(uint64_t{key.size()});
    keys_ += key;
    Put(type);
    ++key_count_;
  }
  uint32_t version_;
  uint64_t tensor_count_ = 0;
  uint64_t key_count_ = 0;
  std::string keys_;
  std::string tensors_;
};

GgufWriter Llama(uint32_t version = 3) {
  GgufWriter writer(version);
  writer.Text("general.architecture", "llama")
      .Text("general.name", "Small Llama")
      .Int("llama.block_count", 4)
      .Int("llama.embedding_length", 64);
  writer.Int("llama.attention.head_count", 4)
      .Int("llama.attention.head_count_kv", 2)
      .Int("llama.feed_forward_length", 128);
  writer.Int("llama.context_length", 4096).Float("llama.rope.freq_base", 10000.0f).Tokens(256);
  return writer;
}

TEST(GgufHeader, ReadsALlamaOfEitherVersion) {
  for (const uint32_t version : {2u, 3u}) {
    auto spec = ParseGgufHeader(Llama(version).Bytes(), "m.gguf");
    ASSERT_TRUE(spec.ok()) << spec.error().message;
    EXPECT_EQ(spec->name, "Small Llama");
    EXPECT_EQ(spec->layers, 4);
    EXPECT_EQ(spec->head_dim, 16);
    EXPECT_EQ(spec->kv_heads, 2);
    EXPECT_EQ(spec->vocabulary, 256);
    EXPECT_EQ(spec->max_context_tokens, 4096);
    EXPECT_EQ(spec->rope_theta, 10000.0);
  }
}

TEST(GgufHeader, WeightBitsComeFromTheTensorTable) {
  auto writer = Llama();
  writer.Tensor("token_embd.weight", 256, 64, 12)
      .Tensor("blk.0.attn_q.weight", 64, 256, 12);  // Q4_K: 144 bytes for 256 values
  auto spec = ParseGgufHeader(writer.Bytes(), "m.gguf");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->weight_bits, 4.5);
  EXPECT_TRUE(spec->tied_embeddings) << "no output.weight";
  EXPECT_FALSE(ParseGgufHeader(writer.Tensor("output.weight", 256, 64, 1).Bytes(), "m.gguf")->tied_embeddings);
}

TEST(GgufHeader, PerLayerHeadCountsGiveTheLargestAndANote) {
  GgufWriter writer;
  writer.Text("general.architecture", "llama")
      .Int("llama.block_count", 3)
      .Int("llama.embedding_length", 64)
      .Int("llama.attention.head_count", 4);
  writer.IntArray("llama.attention.head_count_kv", {1, 4, 2}).Int("llama.feed_forward_length", 128).Tokens(10);
  auto spec = ParseGgufHeader(writer.Bytes(), "m.gguf");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->kv_heads, 4);
  ASSERT_EQ(spec->notes.size(), 1u);
  EXPECT_NE(spec->notes[0].find("the largest, 4, is taken for all"), std::string::npos) << spec->notes[0];
}

TEST(GgufHeader, AnUnknownArchitectureIsReadWithANoteAndAHybridRefused) {
  const auto of = [](const std::string& architecture) {
    GgufWriter writer;
    writer.Text("general.architecture", architecture).Int(architecture + ".block_count", 4).Int(architecture + ".embedding_length", 64);
    writer.Int(architecture + ".attention.head_count", 4).Int(architecture + ".feed_forward_length", 128).Tokens(10);
    return writer;
  };
  const auto message = [](const GgufWriter& writer) {
    auto spec = ParseGgufHeader(writer.Bytes(), "m.gguf");
    return spec.ok() ? std::string("read") : spec.error().message;
  };
  auto spec = ParseGgufHeader(of("brand-new").Bytes(), "m.gguf");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  ASSERT_EQ(spec->notes.size(), 1u);
  EXPECT_NE(spec->notes[0].find("general.architecture 'brand-new' is not known"), std::string::npos) << spec->notes[0];
  EXPECT_NE(message(of("jamba").Int("jamba.ssm.state_size", 16)).find("'jamba.ssm.state_size' says that layers are recurrent"), std::string::npos);
  EXPECT_NE(message(of("jamba").IntArray("jamba.attention.head_count_kv", {0, 4, 0, 0})).find("some layers have no key heads"), std::string::npos);
  EXPECT_NE(message(of("brand-new").Int("brand-new.expert_count", 8)).find("'brand-new.expert_count' is not read"), std::string::npos);
  EXPECT_NE(message(of("gpt2")).find("two matrices without a gate"), std::string::npos);
}

TEST(GgufHeader, Gemma3SlidesOnFiveLayersOfSix) {
  GgufWriter writer;
  writer.Text("general.architecture", "gemma3")
      .Int("gemma3.block_count", 18)
      .Int("gemma3.embedding_length", 640)
      .Int("gemma3.attention.head_count", 4);
  writer.Int("gemma3.attention.head_count_kv", 1)
      .Int("gemma3.attention.key_length", 256)
      .Int("gemma3.feed_forward_length", 2048);
  writer.Int("gemma3.attention.sliding_window", 512).Tokens(1000);
  auto spec = ParseGgufHeader(writer.Bytes(), "m.gguf");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(std::count_if(spec->layer_calls.begin(), spec->layer_calls.end(), [](const MechanismCall& call) { return call.id == "gqa"; }), 3);
  EXPECT_EQ(spec->head_dim, 256);
  EXPECT_EQ(spec->window_tokens, 512);
}

TEST(GgufHeader, EveryTruncationIsRefused) {
  const std::string bytes = Llama().Bytes();
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(ParseGgufHeader(bytes.substr(0, size), "m.gguf").ok()) << size;
}

TEST(GgufHeader, HostileLengthsAreRefusedNotAllocated) {
  const std::string good = Llama().Bytes();
  const auto with = [&](size_t offset, uint64_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + offset, &value, sizeof(value));
    return ParseGgufHeader(bytes, "m.gguf");
  };
  for (const uint64_t value : {uint64_t{1} << 63, ~uint64_t{0}, uint64_t{1} << 40, uint64_t{70000}}) {
    EXPECT_FALSE(with(16, value).ok()) << "number of keys " << value;
    EXPECT_FALSE(with(24, value).ok()) << "length of the first key " << value;
  }
  EXPECT_FALSE(with(8, ~uint64_t{0}).ok()) << "number of tensors";
  const size_t count_at = good.find("tokenizer.ggml.tokens") + 21 + 4 + 4;
  EXPECT_FALSE(with(count_at, ~uint64_t{0}).ok()) << "length of an array";
  EXPECT_FALSE(with(count_at, uint64_t{1} << 60).ok());
}

TEST(GgufHeader, AnyByteMayBeWrong) {
  const std::string good = Llama().Tensor("token_embd.weight", 256, 64, 12).Bytes();
  EXPECT_TRUE(rc::check("parsing ends with a value or an error", [&] {
    std::string bytes = good;
    const int changes = *rc::gen::inRange(1, 8);
    for (int i = 0; i < changes; ++i)
      bytes[*rc::gen::inRange<size_t>(0, bytes.size())] = static_cast<char>(*rc::gen::inRange(0, 256));
    auto spec = ParseGgufHeader(bytes, "m.gguf");
    if (spec.ok()) {
      RC_ASSERT(CheckModelSpec(*spec).ok());
      RC_ASSERT(CountParameters(*spec).total > 0);
    }
  }));
}

TEST(GgufHeader, OtherFilesAreNamedAsWhatTheyAreNot) {
  EXPECT_EQ(ParseGgufHeader("PK\3\4", "m.gguf").error().message,
            "m.gguf: byte 0: does not begin with 'GGUF'; is it a GGUF file?");
  std::string old("GGUF\1\0\0\0", 8);
  EXPECT_NE(ParseGgufHeader(old, "m.gguf").error().message.find("versions 2 and 3 are read"), std::string::npos);
  GgufWriter empty;
  EXPECT_NE(ParseGgufHeader(empty.Text("general.architecture", "llama").Bytes(), "m.gguf")
                .error()
                .message.find("'llama.block_count' is missing"),
            std::string::npos);
}

}  // namespace
}  // namespace assay::formats
