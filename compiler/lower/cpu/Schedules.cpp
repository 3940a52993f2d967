//===- Schedules.cpp - Records of schedules as text -----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Schedules.h"

#include "runtime/core/DType.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

using namespace quern;
using namespace quern::cpugen;

/// The kinds of steps and the bytes of an element in them.
static constexpr std::pair<std::string_view, unsigned> kinds[] = {
    {"quads", 1}, {"pairs", 2}, {"bf16pairs", 2}, {"singles", 4}};

ProductSizes ProductKey::sizes() const {
  ProductSizes sizes;
  sizes.k = k;
  for (auto [name, bytes] : kinds)
    if (name == kind)
      sizes.elementBytes = bytes;
  sizes.terms = terms;
  sizes.split = split.has_value();
  sizes.widened = widened;
  return sizes;
}

static std::string textOf(std::optional<int64_t> number,
                          const char *otherwise) {
  return number ? fmt::format("{}", *number) : otherwise;
}

/// With what stands between K and the rest.
static std::string textOf(const ProductKey &product, const std::string &rows) {
  return fmt::format(
      "kind={} left={} right={} n={} k={}{} split={} terms={} widened={}",
      product.kind, product.left, product.right, textOf(product.n, "any"),
      textOf(product.k, "any"), rows, textOf(product.split, "no"),
      product.terms, product.widened ? "yes" : "no");
}

std::string ProductKey::text() const { return textOf(*this, ""); }

std::string quern::cpugen::fieldsOf(const Blocking &blocking) {
  return fmt::format(
      "rows={} few-rows={} block-rows={} chunk-steps={} ahead={} few-ahead={}",
      blocking.rows, blocking.fewRows, blocking.blockRows,
      textOf(blocking.chunkSteps, "no"), blocking.aheadBytes,
      textOf(blocking.fewAhead, "no"));
}

std::string Schedules::print() const {
  std::string text =
      fmt::format("quern-schedules {}\ntarget {}\ncaches l1={} l2={} l3={}\n",
                  version, target, caches.l1, caches.l2, caches.l3);
  for (const ScheduleEntry &entry : entries) {
    for (const std::string &comment : entry.comments)
      text += fmt::format("# {}\n", comment);
    text += fmt::format(
        "product {} : {}\n",
        textOf(entry.product,
               fmt::format(" m={}..{}", entry.minRows, entry.maxRows)),
        fieldsOf(entry.blocking));
  }
  return text + "end\n";
}

std::vector<const ScheduleEntry *>
Schedules::entriesFor(const ProductKey &product,
                      std::optional<int64_t> rows) const {
  std::vector<const ScheduleEntry *> found;
  for (const ScheduleEntry &entry : entries)
    if (entry.product == product &&
        (!rows || (entry.minRows <= *rows && *rows <= entry.maxRows)))
      found.push_back(&entry);
  return found;
}

namespace {

/// Words of a line, each with its column from 1.
struct Word {
  std::string_view text;
  unsigned column;
};

class Parser {
public:
  Parser(std::string_view text, const std::string &name)
      : rest(text), name(name) {}
  Result<Schedules> parse();

private:
  using Fields = std::map<std::string_view, Word, std::less<>>;

  bool nextLine();
  Diagnostic wrong(unsigned column, std::string message,
                   std::string accepted) const;
  Result<void> needLine(std::string_view what);
  Result<Fields> readFields(std::span<const Word> words,
                            std::span<const std::string_view> accepted) const;
  Result<int64_t> number(const Word &word, int64_t least, int64_t most) const;
  Result<int64_t> numberOf(const Fields &fields, std::string_view field,
                           int64_t least, int64_t most) const;
  Result<std::optional<int64_t>> numberOr(const Fields &fields,
                                          std::string_view field,
                                          std::string_view otherwise) const;
  Result<void> readTypes(const Word &word) const;
  Result<void> readHeader();
  Result<ProductKey> readProduct(const Fields &fields) const;
  Result<void> readRows(const Word &word, ScheduleEntry &entry) const;
  Result<void> readEntry();

  std::string_view rest;
  const std::string &name;
  std::string_view line;
  unsigned lineNumber = 0;
  std::vector<Word> words; ///< Of the line.
  CpuTarget target;
  Schedules read;
};

constexpr int64_t mostSize = int64_t(1) << 40;

} // namespace

/// The next line that is not for people alone.
bool Parser::nextLine() {
  while (!rest.empty()) {
    size_t end = rest.find('\n');
    line = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    ++lineNumber;
    words.clear();
    constexpr std::string_view space = " \t\r";
    for (size_t at = line.find_first_not_of(space);
         at != std::string_view::npos;) {
      size_t stop = std::min(line.find_first_of(space, at), line.size());
      words.push_back({line.substr(at, stop - at), unsigned(at + 1)});
      at = line.find_first_not_of(space, stop);
    }
    if (!words.empty() && !words.front().text.starts_with('#'))
      return true;
  }
  return false;
}

Diagnostic Parser::wrong(unsigned column, std::string message,
                         std::string accepted) const {
  Diagnostic diagnostic =
      fail(Errc::InvalidFile, std::move(message), {std::move(accepted)});
  diagnostic.file = name;
  diagnostic.line = std::max(lineNumber, 1u);
  diagnostic.column = column;
  diagnostic.sourceLine = line;
  return diagnostic;
}

Result<void> Parser::needLine(std::string_view what) {
  if (nextLine())
    return {};
  line = {};
  return wrong(1, fmt::format("the record ends where {} should stand", what),
               "it may have been cut off: a whole one has \"quern-schedules\", "
               "\"target\", \"caches\", its products, and \"end\"");
}

/// Exactly the accepted fields, each once.
Result<Parser::Fields>
Parser::readFields(std::span<const Word> from,
                   std::span<const std::string_view> accepted) const {
  std::string all;
  for (std::string_view field : accepted)
    all += (all.empty() ? "" : ", ") + std::string(field);
  Fields fields;
  for (const Word &word : from) {
    size_t equals = word.text.find('=');
    std::string_view field = word.text.substr(0, equals);
    if (equals == std::string_view::npos ||
        std::find(accepted.begin(), accepted.end(), field) == accepted.end())
      return wrong(
          word.column,
          fmt::format("\"{}\" is no field of what stands here", word.text),
          fmt::format("accepted are {}, each as NAME=VALUE", all));
    Word value = {word.text.substr(equals + 1),
                  word.column + unsigned(equals) + 1};
    if (!fields.try_emplace(field, value).second)
      return wrong(word.column, fmt::format("{} is given twice", field),
                   "leave one of them out");
  }
  for (std::string_view field : accepted)
    if (!fields.contains(field))
      return wrong(words.front().column, fmt::format("{} is missing", field),
                   fmt::format("needed are {}", all));
  return fields;
}

Result<int64_t> Parser::number(const Word &word, int64_t least,
                               int64_t most) const {
  int64_t value = 0;
  const char *end = word.text.data() + word.text.size();
  auto [stop, error] = std::from_chars(word.text.data(), end, value);
  if (error != std::errc() || stop != end || value < least || value > most)
    return wrong(
        word.column, fmt::format("\"{}\" is no such number", word.text),
        fmt::format("accepted are numbers from {} to {}", least, most));
  return value;
}

Result<int64_t> Parser::numberOf(const Fields &fields, std::string_view field,
                                 int64_t least, int64_t most) const {
  return number(fields.find(field)->second, least, most);
}

Result<std::optional<int64_t>>
Parser::numberOr(const Fields &fields, std::string_view field,
                 std::string_view otherwise) const {
  const Word &word = fields.find(field)->second;
  if (word.text == otherwise)
    return std::optional<int64_t>();
  auto value = number(word, 1, mostSize);
  if (value)
    return std::optional(*value);
  Diagnostic diagnostic = value.error();
  diagnostic.notes.front() += fmt::format(", and \"{}\"", otherwise);
  return diagnostic;
}

/// "i8", "i4+f16"
Result<void> Parser::readTypes(const Word &word) const {
  std::string_view types = word.text;
  for (bool more = true; more;) {
    size_t plus = types.find('+');
    std::string_view type = types.substr(0, plus);
    more = plus != std::string_view::npos;
    types.remove_prefix(more ? plus + 1 : types.size());
    if (!parseDType(type))
      return wrong(word.column, fmt::format("\"{}\" is no element type", type),
                   "accepted are types such as i8, u8, i4, u4, f16, bf16 and "
                   "f32, several by \"+\"");
  }
  return {};
}

Result<void> Parser::readHeader() {
  if (auto there = needLine("\"quern-schedules 1\""); !there)
    return there;
  if (words.front().text != "quern-schedules" || words.size() != 2)
    return wrong(words.front().column, "this is no record of schedules",
                 "one begins with \"quern-schedules 1\"; quern tune writes it");
  if (words[1].text != fmt::format("{}", Schedules::version))
    return wrong(
        words[1].column,
        fmt::format("records of version \"{}\" are not known", words[1].text),
        fmt::format("accepted is version {}; quern tune makes one "
                    "anew",
                    Schedules::version));

  if (auto there = needLine("\"target cpu:LEVEL\""); !there)
    return there;
  std::string levels;
  bool known = false;
  for (CpuLevel level : allCpuLevels) {
    CpuTarget one = CpuTarget::forLevel(level);
    levels += (levels.empty() ? "" : ", ") + one.name();
    if (words.size() == 2 && words[1].text == one.name()) {
      target = one;
      known = true;
    }
  }
  if (words.front().text != "target" || !known)
    return wrong(words.back().column,
                 "the level that the record was measured with is not said",
                 fmt::format("accepted is \"target\" with one of {}", levels));
  read.target = target.name();

  if (auto there = needLine("\"caches l1=N l2=N l3=N\""); !there)
    return there;
  if (words.front().text != "caches")
    return wrong(words.front().column,
                 "the caches that the record was measured with are not said",
                 "accepted is \"caches l1=N l2=N l3=N\", in bytes");
  static constexpr std::string_view accepted[] = {"l1", "l2", "l3"};
  auto fields = readFields(std::span(words).subspan(1), accepted);
  if (!fields)
    return fields.error();
  for (auto [field, size] : {std::pair("l1", &read.caches.l1),
                             {"l2", &read.caches.l2},
                             {"l3", &read.caches.l3}}) {
    auto bytes = numberOf(*fields, field, 1, mostSize);
    if (!bytes)
      return bytes.error();
    *size = *bytes;
  }
  return {};
}

Result<ProductKey> Parser::readProduct(const Fields &fields) const {
  ProductKey product;
  const Word &kind = fields.find("kind")->second;
  std::string names;
  bool known = false;
  for (auto [each, bytes] : kinds) {
    names += (names.empty() ? "" : ", ") + std::string(each);
    known |= each == kind.text;
  }
  if (!known)
    return wrong(kind.column, fmt::format("there is no kind \"{}\"", kind.text),
                 "accepted are " + names);
  product.kind = kind.text;
  for (auto [field, types] :
       {std::pair("left", &product.left), {"right", &product.right}}) {
    const Word &word = fields.find(field)->second;
    if (auto right = readTypes(word); !right)
      return right.error();
    *types = word.text;
  }
  for (auto [field, otherwise, size] : {std::tuple("n", "any", &product.n),
                                        {"k", "any", &product.k},
                                        {"split", "no", &product.split}}) {
    auto value = numberOr(fields, field, otherwise);
    if (!value)
      return value.error();
    *size = *value;
  }
  auto terms = numberOf(fields, "terms", 1, 1 << 16);
  if (!terms)
    return terms.error();
  product.terms = unsigned(*terms);
  const Word &widened = fields.find("widened")->second;
  if (widened.text != "yes" && widened.text != "no")
    return wrong(widened.column, fmt::format("widened={}", widened.text),
                 "accepted are yes and no");
  product.widened = widened.text == "yes";
  if (product.k && product.split && *product.split > *product.k)
    return wrong(fields.find("split")->second.column,
                 fmt::format("split={} with k={}", *product.split, *product.k),
                 "a product is scaled every so many elements of K, all of them "
                 "at most");
  return product;
}

/// "8..128"
Result<void> Parser::readRows(const Word &word, ScheduleEntry &entry) const {
  size_t dots = word.text.find("..");
  if (dots == std::string_view::npos)
    return wrong(word.column, fmt::format("m={} is no range", word.text),
                 "accepted is LEAST..MOST, as in m=1..128");
  Word least = {word.text.substr(0, dots), word.column};
  Word most = {word.text.substr(dots + 2), word.column + unsigned(dots) + 2};
  auto first = number(least, 1, mostSize);
  if (!first)
    return first.error();
  auto last = number(most, 1, mostSize);
  if (!last)
    return last.error();
  if (*last < *first)
    return wrong(word.column,
                 fmt::format("m={} ends before it begins", word.text),
                 "accepted is LEAST..MOST, as in m=1..128");
  entry.minRows = *first;
  entry.maxRows = *last;
  return {};
}

Result<void> Parser::readEntry() {
  ScheduleEntry entry;
  entry.line = lineNumber;
  auto colon = std::find_if(words.begin(), words.end(),
                            [](const Word &word) { return word.text == ":"; });
  if (colon == words.end())
    return wrong(unsigned(line.size()) + 1, "a \":\" is missing",
                 "before it stands what a product is, behind it how it is "
                 "cut, with spaces around it");
  static constexpr std::string_view ofProducts[] = {
      "kind", "left", "right", "n", "k", "m", "split", "terms", "widened"};
  static constexpr std::string_view ofSizes[] = {
      "rows", "few-rows", "block-rows", "chunk-steps", "ahead", "few-ahead"};
  auto key = readFields({words.begin() + 1, colon}, ofProducts);
  if (!key)
    return key.error();
  auto product = readProduct(*key);
  if (!product)
    return product.error();
  entry.product = std::move(*product);
  if (auto rows = readRows(key->find("m")->second, entry); !rows)
    return rows;

  auto sizes = readFields({colon + 1, words.end()}, ofSizes);
  if (!sizes)
    return sizes.error();
  Blocking &blocking = entry.blocking;
  blocking.columns = 2 * target.lanes();
  for (auto [field, size] : {std::pair("rows", &blocking.rows),
                             {"few-rows", &blocking.fewRows},
                             {"block-rows", &blocking.blockRows},
                             {"ahead", &blocking.aheadBytes}}) {
    auto value = numberOf(*sizes, field, 0, 1 << 20);
    if (!value)
      return value.error();
    *size = unsigned(*value);
  }
  for (auto [field, size] : {std::pair("chunk-steps", &blocking.chunkSteps),
                             {"few-ahead", &blocking.fewAhead}}) {
    auto value = numberOr(*sizes, field, "no");
    if (!value)
      return value.error();
    *size = *value;
  }
  if (std::string problem = blocking.problem(target, entry.product.sizes());
      !problem.empty()) {
    std::string_view field = std::string_view(problem).substr(
        0, std::min(problem.find('='), problem.size()));
    auto at = sizes->find(field);
    return wrong(at == sizes->end() ? 1 : at->second.column,
                 "these sizes are not possible", problem);
  }
  for (const ScheduleEntry &other : read.entries)
    if (other.product == entry.product && other.minRows <= entry.maxRows &&
        entry.minRows <= other.maxRows)
      return wrong(words.front().column,
                   fmt::format("line {} is about this product and these rows "
                               "too",
                               other.line),
                   "leave one of them out");
  read.entries.push_back(std::move(entry));
  return {};
}

Result<Schedules> Parser::parse() {
  if (auto header = readHeader(); !header)
    return header.error();
  for (;;) {
    if (auto there = needLine("\"product\" or \"end\""); !there)
      return there.error();
    std::string_view first = words.front().text;
    if (first == "end" && words.size() == 1)
      break;
    if (first != "product")
      return wrong(words.front().column,
                   fmt::format("\"{}\" is not what a line begins with", first),
                   "accepted are \"product\", \"end\" alone, and \"#\" for "
                   "what is not read");
    if (auto entry = readEntry(); !entry)
      return entry.error();
  }
  if (nextLine())
    return wrong(words.front().column, "something stands behind \"end\"",
                 "accepted are lines that begin with \"#\"");
  return std::move(read);
}

Result<Schedules> Schedules::parse(std::string_view text,
                                   const std::string &name) {
  return Parser(text, name).parse();
}
