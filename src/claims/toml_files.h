// What the TOML files of claims and predictions share: evidence, and reading the shipped files or a folder of them. Private to claims/.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "claims/embedded.h"
#include "claims/evidence.h"
#include "core/result.h"
#include "fmt/format.h"
#include "formats/text.h"
#include "formats/toml.h"

namespace assay {

constexpr size_t kLargestClaimBytes = 1 * formats::kMegabyte;

// Takes side, summary, url and date of one [[evidence]]; the caller takes what else it has and closes the table.
Evidence TakeEvidence(formats::TomlReader& table);

Result<std::vector<std::string>> TomlFilesOf(const std::string& directory);  // sorted; refuses a directory without any

template <class Item>
Result<std::vector<Item>> SortedById(std::vector<Item> items) {
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.id < b.id; });
  for (size_t i = 1; i < items.size(); ++i)
    if (items[i].id == items[i - 1].id)
      return BadInput(fmt::format("{}: the id {} is taken by {}", items[i].path, items[i].id, items[i - 1].path));
  return items;
}

template <class Item>
using Parse = Result<Item>(std::string_view text, const std::string& path);

template <class Item>
Result<std::vector<Item>> ParseEmbedded(std::span<const EmbeddedFile> files, Parse<Item>* parse) {
  std::vector<Item> items;
  for (const EmbeddedFile& file : files) {
    ASSAY_TRY(Item item, parse(file.text, std::string(file.path)));
    items.push_back(std::move(item));
  }
  return SortedById(std::move(items));
}

template <class Item>
Result<std::vector<Item>> ParseFolder(const std::string& directory, Parse<Item>* parse) {
  ASSAY_TRY(const auto paths, TomlFilesOf(directory));
  std::vector<Item> items;
  for (const std::string& path : paths) {
    ASSAY_TRY(const std::string text, formats::ReadFile(path, kLargestClaimBytes));
    ASSAY_TRY(Item item, parse(text, path));
    items.push_back(std::move(item));
  }
  return SortedById(std::move(items));
}

}  // namespace assay
