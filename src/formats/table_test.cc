#include "formats/table.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <filesystem>

namespace assay::formats {
namespace {

std::string MessageOf(const std::string& text) {
  auto table = Table::Parse(text, "t.csv");
  return table.ok() ? "parsed" : table.error().message;
}

TEST(Table, GivesColumnsByNameAndNumbersWithLines) {
  auto table =
      Table::Parse("\xef\xbb\xbfname,m,latency\r\n\"a, \"\"b\"\"\",16,0.5\r\n\r\nplain , 32,1e-3\r\n", "t.csv");
  ASSERT_TRUE(table.ok()) << table.error().message;
  ASSERT_EQ(table->rows(), 2u);
  EXPECT_EQ(table->columns(), (std::vector<std::string>{"name", "m", "latency"}));
  EXPECT_EQ(table->Text(0, 0), "a, \"b\"");
  EXPECT_EQ(table->Text(1, 0), "plain");
  EXPECT_EQ(table->line(1), 4);
  EXPECT_EQ(*table->Numbers("latency"), (std::vector<double>{0.5, 1e-3}));
  EXPECT_EQ(table->Column("latencyy").error().message, "t.csv:1: no column 'latencyy'; did you mean 'latency'?");
}

TEST(Table, RefusesBadFieldsWithFileLineAndColumn) {
  auto table = Table::Parse("m,latency\n1,x\n-5,nan\n2.5,1e999\n,inf\n", "t.csv");
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->Number(0, 1).error().message, "t.csv:2: latency is 'x'; it must be a number");
  EXPECT_EQ(table->Integer(1, 0).error().message, "t.csv:3: m is -5; it must be between 0 and 1e+18");
  EXPECT_EQ(table->Integer(2, 0).error().message, "t.csv:4: m is '2.5'; it must be an integer");
  EXPECT_FALSE(table->Number(1, 1).ok()) << "NaN";
  EXPECT_FALSE(table->Number(2, 1).ok()) << "beyond a double";
  EXPECT_FALSE(table->Number(3, 1).ok()) << "infinite";
  EXPECT_EQ(table->Numbers("m").error().message, "t.csv:3: m is -5; it must be between 0 and 1e+18");
  EXPECT_FALSE(table->Integer(3, 0).ok()) << "empty";
}

TEST(Table, RefusesMalformedTables) {
  EXPECT_EQ(MessageOf(""), "t.csv: empty; a table starts with a line of column names");
  EXPECT_EQ(MessageOf("a,b\n1\n"), "t.csv:2: 1 fields, the header has 2; is the file cut short?");
  EXPECT_EQ(MessageOf("a,a\n"), "t.csv:1: column 'a' is there twice; rename one");
  EXPECT_EQ(MessageOf("a,b\n\"1,2\n"), "t.csv:2: a quote is not closed on its line; close it");
  EXPECT_EQ(MessageOf("a\n\"1\"2\n"), "t.csv:2: expected ',' after a closing quote");
  EXPECT_NE(MessageOf(std::string("\xff\xfe") + std::string("a\0,\0", 4)).find("not UTF-8"), std::string::npos);
  EXPECT_NE(MessageOf("a\n" + std::string(2 << 20, '1')).find("a line of 2097152 bytes"), std::string::npos);
  EXPECT_NE(MessageOf(std::string(5000, ',')).find("more than 1024 fields"), std::string::npos);
}

TEST(Table, QuotedFieldsSurviveARoundTrip) {
  EXPECT_TRUE(rc::check("write quoted, read back", [] {
    const auto cells = *rc::gen::container<std::vector<std::string>>(
        6, rc::gen::container<std::string>(rc::gen::elementOf(std::string("a\",; 1"))));
    std::string text = "x,y,z\n";
    for (size_t i = 0; i < cells.size(); ++i) {
      text += '"';
      for (const char c : cells[i]) text += c == '"' ? std::string("\"\"") : std::string(1, c);
      text += i % 3 == 2 ? "\"\n" : "\",";
    }
    auto table = Table::Parse(text, "t.csv");
    RC_ASSERT(table.ok());
    for (size_t i = 0; i < cells.size(); ++i) RC_ASSERT(table->Text(i / 3, i % 3) == cells[i]);
  }));
}

TEST(TableName, SplitsTheFivePartsAndRefusesOthers) {
  auto name = ParseTableName("dir__x/h100_sxm__attention__vllm__0.24.0__context_attention_perf.csv");
  ASSERT_TRUE(name.ok()) << name.error().message;
  EXPECT_EQ(name->system, "h100_sxm");
  EXPECT_EQ(name->version, "0.24.0");
  EXPECT_EQ(name->table, "context_attention_perf");
  for (const char* bad :
       {"", "a.csv", "a__b__c__d.csv", "a__b__c__d__e__f.csv", "a__b____d__e.csv", "a__b__c__d__e.txt"})
    EXPECT_FALSE(ParseTableName(bad).ok()) << bad;
}

TEST(Table, ReadsEverySharedTable) {
  const std::string root = ASSAY_SHARED_DATA_DIR;
  if (!std::filesystem::exists(root + "/gpu_kernels")) GTEST_SKIP() << "no measured tables at " << root;
  size_t rows = 0;
  for (const char* folder : {"/gpu_kernels", "/collectives"}) {
    for (const auto& entry : std::filesystem::directory_iterator(root + folder)) {
      const std::string path = entry.path().string();
      auto table = Table::Read(path);
      ASSERT_TRUE(table.ok()) << table.error().message;
      EXPECT_TRUE(ParseTableName(path).ok()) << path;
      auto latency = table->Numbers("latency");
      ASSERT_TRUE(latency.ok()) << latency.error().message;
      rows += table->rows();
    }
  }
  EXPECT_GT(rows, 150000u);
  auto silicon = Table::Read(root + "/gpu_end_to_end/silicon.csv");
  ASSERT_TRUE(silicon.ok()) << silicon.error().message;
  EXPECT_GT(silicon->rows(), 2000u);
}

}  // namespace
}  // namespace assay::formats
