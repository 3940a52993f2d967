//===- SchedulesTest.cpp - Records of schedules, and candidates -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Schedules.h"
#include "compiler/lower/cpu/Candidates.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <set>

using namespace quern;
using namespace quern::cpugen;

static const std::string header = "quern-schedules 1\n"
                                  "target cpu:avx2\n"
                                  "caches l1=32768 l2=524288 l3=33554432\n";
static const std::string product =
    "product kind=pairs left=i8 right=i8+f32 n=4096 k=1000 m=1..128 split=no "
    "terms=1 widened=no : rows=6 few-rows=1 block-rows=126 "
    "chunk-steps=256 ahead=8192 few-ahead=2048\n";
static const std::string whole = header + product + "end\n";

/// The record with one piece of its text replaced.
static std::string with(std::string_view piece, std::string_view by) {
  std::string text = whole;
  size_t at = text.find(piece);
  EXPECT_NE(at, std::string::npos) << piece;
  return text.replace(at, piece.size(), by);
}

static Schedules parsed(const std::string &text) {
  auto read = Schedules::parse(text, "test");
  EXPECT_TRUE(read) << read.error().render();
  return read ? *read : Schedules();
}

static void expectEqual(const Schedules &a, const Schedules &b) {
  EXPECT_EQ(a.target, b.target);
  EXPECT_EQ(a.caches.l1, b.caches.l1);
  EXPECT_EQ(a.caches.l2, b.caches.l2);
  EXPECT_EQ(a.caches.l3, b.caches.l3);
  ASSERT_EQ(a.entries.size(), b.entries.size());
  for (size_t i = 0; i < a.entries.size(); ++i) {
    EXPECT_EQ(a.entries[i].product, b.entries[i].product);
    EXPECT_EQ(a.entries[i].minRows, b.entries[i].minRows);
    EXPECT_EQ(a.entries[i].maxRows, b.entries[i].maxRows);
    EXPECT_EQ(a.entries[i].blocking, b.entries[i].blocking);
  }
}

TEST(Schedules, AreReadAsTheyStand) {
  Schedules record = parsed(whole);
  EXPECT_EQ(record.target, "cpu:avx2");
  EXPECT_EQ(record.caches.l2, 524288);
  ASSERT_EQ(record.entries.size(), 1u);
  const ScheduleEntry &entry = record.entries[0];
  EXPECT_EQ(entry.line, 4u);
  EXPECT_EQ(entry.product.kind, "pairs");
  EXPECT_EQ(entry.product.left, "i8");
  EXPECT_EQ(entry.product.right, "i8+f32");
  EXPECT_EQ(entry.product.n, 4096);
  EXPECT_EQ(entry.product.k, 1000);
  EXPECT_FALSE(entry.product.split);
  EXPECT_EQ(entry.product.terms, 1u);
  EXPECT_FALSE(entry.product.widened);
  EXPECT_EQ(entry.minRows, 1);
  EXPECT_EQ(entry.maxRows, 128);
  EXPECT_EQ(entry.blocking.rows, 6u);
  EXPECT_EQ(entry.blocking.columns, 16u);
  EXPECT_EQ(entry.blocking.fewRows, 1u);
  EXPECT_EQ(entry.blocking.blockRows, 126u);
  EXPECT_EQ(entry.blocking.chunkSteps, 256);
  EXPECT_EQ(entry.blocking.aheadBytes, 8192u);
  EXPECT_EQ(entry.blocking.fewAhead, 2048);
  EXPECT_EQ(record.print(), whole);
}

TEST(Schedules, OfAllLevelsAreReadBack) {
  for (CpuLevel level : allCpuLevels) {
    CpuTarget target = CpuTarget::forLevel(level);
    Schedules record;
    record.target = target.name();
    record.caches = target.caches;
    for (std::optional<int64_t> k : {std::optional<int64_t>(4096), {}})
      for (const char *kind : {"quads", "pairs", "bf16pairs", "singles"})
        for (std::optional<int64_t> split : {std::optional<int64_t>(128), {}})
          for (bool widened : {false, true}) {
            ScheduleEntry entry;
            entry.product.kind = kind;
            entry.product.left = "f32+f32";
            entry.product.right = widened ? "i4+f16" : "bf16";
            entry.product.k = k;
            entry.product.split = split;
            entry.product.terms = 2;
            entry.product.widened = widened;
            entry.minRows = 3;
            entry.maxRows = 2048;
            entry.blocking = Blocking::choose(target, entry.product.sizes());
            entry.comments = {"for people: product end", ""};
            record.entries.push_back(std::move(entry));
          }
    expectEqual(parsed(record.print()), record);
  }
}

TEST(Schedules, MayHoldWhatIsForPeople) {
  std::string text = "# first\n\n  # : = end\n" + header + "\r\n\t\n" +
                     product + "#\n" + "end\n\n# end\n";
  Schedules record = parsed(text);
  expectEqual(record, parsed(whole));
  EXPECT_EQ(record.entries[0].line, 9u);
  // Fields in another order, other spaces, lines that end in two characters,
  // and a last one without an end.
  std::string other = with(" left=i8 right=i8+f32", "\tright=i8+f32  left=i8");
  for (size_t at = 0; (at = other.find('\n', at)) != std::string::npos; at += 2)
    other.insert(at, "\r");
  other.resize(other.size() - 2);
  expectEqual(parsed(other), parsed(whole));
  // No product at all is a record too.
  EXPECT_TRUE(parsed(header + "end\n").entries.empty());
}

TEST(Schedules, StandInTheDocumentation) {
  std::ifstream file(QUERN_SOURCE_DIR "/docs/tuning.md");
  std::string text(std::istreambuf_iterator<char>(file), {});
  size_t begin = text.find("quern-schedules 1");
  ASSERT_NE(begin, std::string::npos);
  text = text.substr(begin, text.find("```", begin) - begin);
  Schedules record = parsed(text);
  ASSERT_EQ(record.entries.size(), 1u);
  // But for what is for people it is what would be written.
  for (size_t at; (at = text.find("#")) != std::string::npos;)
    text.erase(at, text.find('\n', at) + 1 - at);
  EXPECT_EQ(record.print(), text);
}

TEST(Schedules, AreFoundByTheirProduct) {
  std::string text = header + product;
  std::string second = product;
  second.replace(second.find("m=1..128"), 8, "m=129..999");
  Schedules record = parsed(text + second + "end\n");
  const ProductKey &key = record.entries[0].product;
  auto linesOf = [&](const ProductKey &key, std::optional<int64_t> rows) {
    std::vector<unsigned> lines;
    for (const ScheduleEntry *entry : record.entriesFor(key, rows))
      lines.push_back(entry->line);
    return lines;
  };
  using testing::ElementsAre;
  EXPECT_THAT(linesOf(key, {}), ElementsAre(4, 5));
  EXPECT_THAT(linesOf(key, 1), ElementsAre(4));
  EXPECT_THAT(linesOf(key, 128), ElementsAre(4));
  EXPECT_THAT(linesOf(key, 129), ElementsAre(5));
  EXPECT_THAT(linesOf(key, 1000), ElementsAre());
  // Everything counts.
  std::vector<ProductKey> others(9, key);
  others[0].kind = "quads";
  others[1].left = "u8";
  others[2].right = "i8";
  others[3].n = 4095;
  others[4].n.reset();
  others[5].k = 999;
  others[6].split = 100;
  others[7].terms = 2;
  others[8].widened = true;
  for (const ProductKey &other : others)
    EXPECT_THAT(linesOf(other, 1), ElementsAre()) << other.text();
}

TEST(Schedules, CutOffAreRefused) {
  for (size_t length = 0; length + 1 < whole.size(); ++length) {
    auto read = Schedules::parse(whole.substr(0, length), "test");
    // But for the last character, which ends a line.
    EXPECT_FALSE(read) << whole.substr(0, length);
    if (!read) {
      EXPECT_EQ(read.error().code, Errc::InvalidFile);
    }
  }
}

namespace {
struct Wrong {
  std::string text;
  unsigned line;
  std::string message, note;
};
} // namespace

TEST(Schedules, WrongOnesAreRefusedByLine) {
  const Wrong wrongs[] = {
      {"", 1, "the record ends where", "cut off"},
      {"# nothing\n", 1, "the record ends where", "cut off"},
      {"layer t(x: f32[M])\n", 1, "no record of schedules", "quern tune"},
      {with("schedules 1", "schedules"), 1, "no record", "quern-schedules 1"},
      {with("schedules 1", "schedules 2"), 1, "version \"2\"", "version 1"},
      {with("schedules 1", "schedules 1 2"), 1, "no record", "begins with"},
      {with("target cpu:avx2", "target cpu"), 2, "level", "cpu:avx512-vnni"},
      {with("target cpu:avx2", "target cuda:sm_80"), 2, "level", "cpu:avx2"},
      {with("target cpu:avx2\n", ""), 2, "level", "\"target\""},
      {with("caches", "cache"), 3, "caches", "l1=N"},
      {with("l2=524288 ", ""), 3, "l2 is missing", "l1, l2, l3"},
      {with("l2=524288", "l2=0"), 3, "\"0\" is no such number", "from 1"},
      {with("l2=524288", "l2=half"), 3, "\"half\" is no such number", "from 1"},
      {with("l2=524288", "l2=524288 l2=1"), 3, "l2 is given twice", "leave"},
      {with("l2=524288", "l4=1"), 3, "\"l4=1\" is no field", "l1, l2, l3"},
      {with("product ", "prodcut "), 4, "\"prodcut\"", "\"product\""},
      {with(" : ", " "), 4, "\":\" is missing", "how it is cut"},
      {with("kind=pairs", "kind=triples"), 4, "\"triples\"", "quads, pairs"},
      {with("kind=pairs ", ""), 4, "kind is missing", "needed are"},
      {with("left=i8", "left=i9"), 4, "no element type", "i8, u8"},
      {with("left=i8", "left="), 4, "\"\" is no element type", "i8, u8"},
      {with("right=i8+f32", "right=i8+"), 4, "no element type", "\"+\""},
      {with("n=4096", "n=0"), 4, "\"0\" is no such number", "\"any\""},
      {with("n=4096", "n=-1"), 4, "\"-1\" is no such number", "from 1"},
      {with("n=4096", "n=99999999999999999999"), 4, "is no such number",
       "from 1"},
      {with("n=4096", "n=4096x"), 4, "is no such number", "from 1"},
      {with("k=1000", "k=no"), 4, "\"no\" is no such number", "\"any\""},
      {with("m=1..128", "m=128"), 4, "no range", "LEAST..MOST"},
      {with("m=1..128", "m=0..128"), 4, "\"0\" is no such number", "from 1"},
      {with("m=1..128", "m=1.."), 4, "\"\" is no such number", "from 1"},
      {with("m=1..128", "m=9..8"), 4, "ends before it begins", "LEAST"},
      {with("split=no", "split=0"), 4, "\"0\" is no such number", "\"no\""},
      {with("split=no", "split=1001"), 4, "split=1001 with k=1000", "at most"},
      {with("terms=1", "terms=0"), 4, "\"0\" is no such number", "from 1"},
      {with("widened=no", "widened=1"), 4, "widened=1", "yes and no"},
      {with("widened=no : rows=6 few-rows=1 block-rows=126 chunk-steps=256",
            "widened=yes : rows=6 few-rows=1 block-rows=126 chunk-steps=no"),
       4, "not possible", "widened by chunks"},
      {with("rows=6 ", "rows=0 "), 4, "not possible", "from 1 to 6 rows"},
      {with("rows=6 ", "rows=7 "), 4, "not possible", "16 registers"},
      {with("rows=6 ", "rows=-6 "), 4, "\"-6\" is no such number", "from 0"},
      {with("rows=6 ", ""), 4, "rows is missing", "few-rows"},
      {with("rows=6 ", "rows=6 rows=6 "), 4, "rows is given twice", "leave"},
      {with("rows=6 ", "width=2 rows=6 "), 4, "\"width=2\"", "accepted are"},
      {with("rows=6 ", "n=4096 rows=6 "), 4, "\"n=4096\" is no field", "rows"},
      {with("few-rows=1", "few-rows=4"), 4, "not possible", "from 0 to 3"},
      {with("rows=6 few-rows=1", "rows=3 few-rows=2"), 4, "not possible",
       "from 0 to 1"},
      {with("rows=6 few-rows=1", "rows=1 few-rows=1"), 4, "not possible",
       "from 0 to 0"},
      {with("=126", "=0"), 4, "not possible", "multiple of the tile's 6"},
      {with("=126", "=128"), 4, "not possible", "multiple of the tile's 6"},
      {with("=126", "=600"), 4, "not possible", "510 rows at most"},
      {with("chunk-steps=256", "chunk-steps=8"), 4, "not possible", "of 16"},
      {with("chunk-steps=256", "chunk-steps=250"), 4, "not possible", "of 16"},
      {with("chunk-steps=256", "chunk-steps=528"), 4, "not possible",
       "all of K is 500 steps"},
      {with("chunk-steps=256", "chunk-steps=0"), 4, "\"0\"", "\"no\""},
      {with("split=no", "split=100"), 4, "not possible", "accepted is no"},
      {with("k=1000", "k=any"), 4, "not possible", "any number of steps"},
      {with("ahead=8192", "ahead=0"), 4, "not possible", "multiple of 64"},
      {with("ahead=8192", "ahead=100"), 4, "not possible", "multiple of 64"},
      {with("ahead=8192", "ahead=131072"), 4, "not possible", "up to 65536"},
      {with("few-ahead=2048", "few-ahead=0"), 4, "\"0\"", "\"no\""},
      {with("few-ahead=2048", "few-ahead=100"), 4, "not possible", "of 64"},
      {with("few-ahead=2048", "few-ahead=131072"), 4, "not possible",
       "up to 65536"},
      {with("few-rows=1", "few-rows=0"), 4, "not possible", "no rows are few"},
      {with("few-ahead=2048", ""), 4, "few-ahead is missing", "ahead"},
      {header + product + product + "end\n", 5, "line 4 is about", "leave"},
      {with("end", "product"), 5, "\":\" is missing", "how it is cut"},
      {with("end", "end of it"), 5, "\"end\" is not what", "\"end\" alone"},
      {whole + product, 6, "behind \"end\"", "\"#\""},
      {whole + whole, 6, "behind \"end\"", "\"#\""},
  };
  for (const Wrong &wrong : wrongs) {
    SCOPED_TRACE(wrong.text);
    auto read = Schedules::parse(wrong.text, "some.tuned");
    ASSERT_FALSE(read);
    const Diagnostic &error = read.error();
    EXPECT_EQ(error.code, Errc::InvalidFile);
    EXPECT_EQ(error.file, "some.tuned");
    EXPECT_EQ(error.line, wrong.line);
    EXPECT_THAT(error.message, testing::HasSubstr(wrong.message));
    ASSERT_EQ(error.notes.size(), 1u);
    EXPECT_THAT(error.notes[0], testing::HasSubstr(wrong.note));
  }
}

TEST(Schedules, BlocksFitTheScratchOfAThread) {
  // 2 MiB of rows of 8192 i8 are 256.
  std::string wide = "product kind=quads left=i8 right=i4 n=64 k=8192 "
                     "m=1..1 split=no terms=1 widened=yes : rows=4 "
                     "few-rows=1 block-rows={} chunk-steps={} ahead=64 "
                     "few-ahead=no\n";
  auto read = [&](int rows, const char *chunk) {
    return Schedules::parse(
        header + fmt::format(fmt::runtime(wide), rows, chunk) + "end\n",
        "test");
  };
  EXPECT_TRUE(read(256, "128"));
  EXPECT_TRUE(read(256, "1024"));
  ASSERT_FALSE(read(260, "128"));
  EXPECT_THAT(read(260, "128").error().notes[0],
              testing::HasSubstr("2 MiB at most: 256 rows"));
  ASSERT_FALSE(read(256, "1040"));
  EXPECT_THAT(read(256, "1040").error().notes[0],
              testing::HasSubstr("1024 steps at most"));
  ASSERT_FALSE(read(256, "no"));
  EXPECT_THAT(read(256, "no").error().notes[0],
              testing::HasSubstr("widened by chunks"));
}

namespace {
/// Sizes of products of every kind, on every level.
template <typename Fn> void forProducts(Fn fn) {
  for (CpuLevel level : allCpuLevels)
    for (int64_t l2 : {128 << 10, 512 << 10, 1 << 20, 2 << 20}) {
      CpuTarget target = CpuTarget::forLevel(level);
      target.caches.l2 = l2;
      for (int64_t k : {0, 1, 100, 4096, 11008, 28672, 1000000})
        for (unsigned bytes : {1, 2, 4})
          for (unsigned terms : {1, 2, 64})
            for (bool split : {false, true})
              for (bool widened : {false, true}) {
                ProductSizes sizes;
                if (k)
                  sizes.k = k;
                sizes.elementBytes = bytes;
                sizes.terms = terms;
                sizes.split = split;
                sizes.widened = widened && bytes == 1;
                SCOPED_TRACE(fmt::format("{} l2 {} k {} bytes {} terms {} "
                                         "split {} four {}",
                                         target.name(), l2, k, bytes, terms,
                                         split, sizes.widened));
                fn(target, sizes);
              }
    }
}
} // namespace

TEST(Candidates, ArePossibleAndDiffer) {
  const std::vector<int64_t> few = {1, 2}, many = {1, 2, 5, 7, 300, 4096};
  std::set<Respect> seen;
  forProducts([&](const CpuTarget &target, const ProductSizes &sizes) {
    Blocking model = Blocking::choose(target, sizes);
    EXPECT_EQ(model.problem(target, sizes), "");
    auto candidates = candidatesFor(target, sizes, model, many);
    EXPECT_GE(candidates.size(), 4u);
    std::vector<Blocking> all = {model};
    Respect last = Respect::Tile;
    for (const Candidate &candidate : candidates) {
      EXPECT_EQ(candidate.blocking.problem(target, sizes), "");
      EXPECT_THAT(all, testing::Not(testing::Contains(candidate.blocking)));
      EXPECT_NE(candidate.text(model), "");
      EXPECT_GE(candidate.respect, last) << "in order";
      all.push_back(candidate.blocking);
      last = candidate.respect;
      seen.insert(last);
    }
    // The list is always the same.
    auto again = candidatesFor(target, sizes, model, many);
    ASSERT_EQ(again.size(), candidates.size());
    for (size_t i = 0; i < again.size(); ++i)
      EXPECT_EQ(again[i].blocking, candidates[i].blocking);
    // With one row tile, blocks, chunks and larger tiles change nothing.
    for (const Candidate &candidate : candidatesFor(target, sizes, model, few))
      EXPECT_TRUE(candidate.respect == Respect::Few ||
                  candidate.respect == Respect::Ahead ||
                  candidate.respect == Respect::Stream)
          << candidate.text(model);
  });
  EXPECT_EQ(seen.size(), numRespects);
}

TEST(Candidates, AreJoined) {
  const std::vector<int64_t> many = {1, 2, 5, 7, 300, 4096};
  unsigned joined = 0;
  forProducts([&](const CpuTarget &target, const ProductSizes &sizes) {
    Blocking model = Blocking::choose(target, sizes);
    // The last of each respect.
    std::array<std::optional<Candidate>, numRespects> last;
    for (const Candidate &candidate :
         candidatesFor(target, sizes, model, many)) {
      last[size_t(candidate.respect)] = candidate;
      EXPECT_EQ(combine(target, sizes, model, std::span(&candidate, 1)),
                candidate.blocking);
    }
    std::vector<Candidate> changes;
    for (const std::optional<Candidate> &candidate : last)
      if (candidate)
        changes.push_back(*candidate);
    auto all = combine(target, sizes, model, changes);
    if (!all)
      return;
    ++joined;
    EXPECT_EQ(all->problem(target, sizes), "");
    for (const Candidate &change : changes)
      if (change.respect == Respect::Tile)
        EXPECT_EQ(all->rows, change.blocking.rows);
      else if (change.respect == Respect::Few)
        EXPECT_EQ(all->fewRows, change.blocking.fewRows);
      else if (change.respect == Respect::Chunk)
        EXPECT_EQ(all->chunkSteps, change.blocking.chunkSteps);
      else if (change.respect == Respect::Ahead)
        EXPECT_EQ(all->aheadBytes, change.blocking.aheadBytes);
      else if (change.respect == Respect::Stream)
        EXPECT_EQ(all->fewAhead, change.blocking.fewAhead);
    EXPECT_EQ(all->blockRows % all->rows, 0u);
  });
  EXPECT_GT(joined, 100u);
  CpuTarget target = CpuTarget::forLevel(CpuLevel::Avx2);
  ProductSizes sizes{.k = 4096};
  Blocking model = Blocking::choose(target, sizes);
  EXPECT_EQ(combine(target, sizes, model, {}), model);
}
