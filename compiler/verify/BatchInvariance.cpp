//===- BatchInvariance.cpp - Does a row depend on its batch? --------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/verify/BatchInvariance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <random>

using namespace quern;
using namespace quern::verify;
using reference::Corner;

//===----------------------------------------------------------------------===//
// Batch dimensions
//===----------------------------------------------------------------------===//

/// Whether an extent such as "ceildiv(M, 128)" contains the symbol.
static bool mentions(const std::string &extent, const std::string &symbol) {
  auto isPart = [&](size_t at) {
    return at < extent.size() &&
           (std::isalnum(static_cast<unsigned char>(extent[at])) ||
            extent[at] == '_');
  };
  for (size_t at = 0; (at = extent.find(symbol, at)) != std::string::npos; ++at)
    if (!(at > 0 && isPart(at - 1)) && !isPart(at + symbol.size()))
      return true;
  return false;
}

/// Whether the operand has a slice for each index of the symbol.
static bool isSliced(const Operand &operand, const std::string &symbol) {
  return !operand.shape.empty() && operand.shape[0] == symbol;
}

/// Why a symbol is no batch dimension; empty where it is one.
static std::string refuse(const Layer &layer, const std::string &symbol) {
  bool any = false;
  for (const Operand &operand : layer.operands()) {
    bool sliced = isSliced(operand, symbol);
    // Rows lie along the leading dimension; the symbol is nothing else.
    for (size_t d = sliced ? 1 : 0; d < operand.shape.size(); ++d)
      if (mentions(operand.shape[d], symbol))
        return fmt::format("{} is in dimension {} of {}, whose shape is [{}]",
                           symbol, d, operand.name,
                           fmt::join(operand.shape, ", "));
    if (operand.role == Operand::Role::Weight && sliced)
      return fmt::format("{} is an extent of the weight {}", symbol,
                         operand.name);
    if (operand.role == Operand::Role::Output && !sliced)
      return fmt::format("output {} of shape [{}] has no row for each index of "
                         "{}",
                         operand.name, fmt::join(operand.shape, ", "), symbol);
    if (sliced && isPacked(operand.dtype) && operand.shape.size() == 1)
      return fmt::format("rows of {} share bytes", operand.name);
    any |= operand.role == Operand::Role::Input && sliced;
  }
  return any ? std::string()
             : fmt::format("no input's leading dimension is {}", symbol);
}

Result<std::vector<size_t>> verify::findBatchSymbols(const Layer &layer) {
  std::vector<size_t> found;
  std::vector<std::string> reasons;
  for (size_t s = 0; s < layer.symbols().size(); ++s) {
    std::string reason = refuse(layer, layer.symbols()[s].name);
    if (reason.empty())
      found.push_back(s);
    else
      reasons.push_back(reason);
  }
  if (layer.symbols().empty())
    reasons.push_back("it has no symbols: all its extents are fixed");
  if (found.empty())
    return fail(Errc::Unsupported,
                fmt::format("layer {} has no batch dimension: no symbol is the "
                            "leading extent of an input and of every output, "
                            "and nothing else",
                            layer.name()),
                std::move(reasons));
  return found;
}

bool BatchReport::passed() const {
  return byDefinition.empty() &&
         std::all_of(rows.begin(), rows.end(), [](const Row &row) {
           return row.differing == 0 && row.error.empty();
         });
}

//===----------------------------------------------------------------------===//
// Comparing rows
//===----------------------------------------------------------------------===//

static uint32_t bitsAt(DType type, const std::byte *data, size_t index) {
  uint32_t bits = 0;
  std::memcpy(&bits, data + index * byteWidth(type),
              std::min<size_t>(byteWidth(type), sizeof(bits)));
  return bits;
}

static bool isNaN(DType type, uint32_t bits) {
  switch (type) {
  case DType::F32:
    return (bits & 0x7fffffffu) > 0x7f800000u;
  case DType::F16:
    return (bits & 0x7fffu) > 0x7c00u;
  case DType::BF16:
    return (bits & 0x7fffu) > 0x7f80u;
  case DType::F8E4M3:
    return (bits & 0x7fu) == 0x7fu;
  case DType::F8E5M2:
    return (bits & 0x7fu) > 0x7cu;
  default:
    return false;
  }
}

static int64_t rowElements(const TensorView &tensor) {
  return tensor.shape[0] ? *tensor.shape.elements() / tensor.shape[0] : 0;
}

static const std::byte *rowOf(const TensorView &tensor, int64_t row) {
  return static_cast<const std::byte *>(tensor.data) +
         row * (*tensor.shape.bytes(tensor.dtype) / tensor.shape[0]);
}

/// Where and how two rows differ; empty where their bits are equal, all NaNs
/// counting as equal.
static std::string compareRows(const std::vector<TensorView> &a, int64_t rowA,
                               const std::vector<TensorView> &b, int64_t rowB) {
  for (size_t t = 0; t < a.size(); ++t) {
    const std::byte *x = rowOf(a[t], rowA), *y = rowOf(b[t], rowB);
    size_t count = static_cast<size_t>(rowElements(a[t]));
    if (std::memcmp(x, y, count * byteWidth(a[t].dtype)) == 0)
      continue;
    size_t differ = 0, first = 0;
    for (size_t i = count; i-- > 0;) {
      uint32_t p = bitsAt(a[t].dtype, x, i), q = bitsAt(a[t].dtype, y, i);
      if (p == q || (isNaN(a[t].dtype, p) && isNaN(a[t].dtype, q)))
        continue;
      ++differ;
      first = i;
    }
    if (differ)
      return fmt::format(
          "{} of {} elements of output {} differ, the first is element {} of "
          "the row: bits {:#x} and {:#x}",
          differ, count, a[t].name, first, bitsAt(a[t].dtype, x, first),
          bitsAt(a[t].dtype, y, first));
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Batches
//===----------------------------------------------------------------------===//

namespace {

/// Some rows of the first batch among other rows.
struct Batch {
  Symbols symbols;
  std::vector<Tensor> operands;
  std::vector<TensorView> views;
  /// Row of the first batch, row of this one.
  std::vector<std::pair<int64_t, int64_t>> rows;
  std::string others; ///< What the other rows are.
};

class Experiment {
public:
  Experiment(const std::vector<Subject> &subjects, const Oracle &oracle,
             const Sizes &sizes, const BatchOptions &options,
             BatchReport &report)
      : subjects(subjects), oracle(oracle), sizes(sizes), options(options),
        report(report) {}

  Result<void> check(size_t symbol);

private:
  Result<void> makeBatches(size_t symbol);
  Result<void> addBatch(size_t symbol, int64_t size,
                        std::vector<int64_t> chosen, Corner corner);
  Result<void> checkReference(size_t symbol);
  void checkSubject(size_t subject, size_t symbol);
  std::string describe(const Batch &batch, size_t symbol, int64_t row,
                       int64_t from, const std::string &what) const;
  bool isStopped() const { return options.isStopped && options.isStopped(); }
  const std::string &nameOf(size_t symbol) const {
    return subjects.front().layer.symbols()[symbol].name;
  }

  const std::vector<Subject> &subjects;
  const Oracle &oracle;
  const Sizes &sizes;
  const BatchOptions &options;
  BatchReport &report;
  std::mt19937_64 random;
  std::vector<Batch> batches; ///< The first is the one others are compared to.
};

} // namespace

Result<void> Experiment::addBatch(size_t symbol, int64_t size,
                                  std::vector<int64_t> chosen, Corner corner) {
  Batch batch;
  bool isFirst = batches.empty();
  if (isFirst) {
    batch.symbols = sizes.least();
    // Other symbols: more than one tile, where that is legal and cheap.
    for (size_t s = 0; s < batch.symbols.size(); ++s)
      if (auto other = sizes.within(s, {17}); s != symbol && !other.empty())
        batch.symbols[s] = other.back();
  } else {
    batch.symbols = batches.front().symbols;
  }
  batch.symbols[symbol] = size;
  batch.others = fmt::format("among rows of kind \"{}\"", name(corner));
  if (static_cast<int64_t>(chosen.size()) >= size)
    batch.others = "alone";
  auto operands = oracle.drawInputs(batch.symbols,
                                    options.seed + batches.size(), {}, corner);
  if (!operands)
    return operands.error();
  batch.operands = std::move(*operands);

  // The chosen rows, at places of their own.
  std::vector<int64_t> places(static_cast<size_t>(size));
  for (size_t i = 0; i < places.size(); ++i)
    places[i] = static_cast<int64_t>(i);
  for (size_t i = 0; i < chosen.size() && i < places.size(); ++i) {
    std::swap(places[i], places[i + random() % (places.size() - i)]);
    batch.rows.push_back({chosen[i], isFirst ? chosen[i] : places[i]});
  }
  size_t next = 0;
  for (const Operand &operand : subjects.front().layer.operands()) {
    if (operand.role == Operand::Role::Output)
      continue;
    Tensor &own = batch.operands[next];
    if (!isFirst) {
      const Tensor &first = batches.front().operands[next];
      if (!isSliced(operand, nameOf(symbol))) {
        auto copy = first.clone();
        if (!copy)
          return copy.error();
        own = std::move(*copy);
      } else {
        for (auto [from, to] : batch.rows) {
          size_t bytes = own.bytes() / static_cast<size_t>(size);
          std::memcpy(static_cast<std::byte *>(own.data()) + to * bytes,
                      rowOf(first, from), bytes);
        }
      }
    }
    ++next;
  }
  batch.views.assign(batch.operands.begin(), batch.operands.end());
  batches.push_back(std::move(batch));
  return {};
}

Result<void> Experiment::makeBatches(size_t symbol) {
  random.seed(options.seed + symbol);
  batches.clear();
  std::vector<int64_t> legal =
      sizes.within(symbol, {1, 2, 7, 16, 33, 64, 130, 300});
  int64_t base = legal.size() > 2 ? legal[legal.size() - 2] : legal.back();
  std::vector<int64_t> chosen = {0, base / 2, base - 1};
  chosen.push_back(static_cast<int64_t>(random() % base));
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  if (auto added = addBatch(symbol, base, chosen, Corner::None); !added)
    return added;
  // Each alone, or in as small a batch as there can be.
  for (int64_t row : chosen)
    if (auto added = addBatch(symbol, legal.front(), {row}, Corner::None);
        !added)
      return added;
  static constexpr Corner corners[] = {Corner::NaNRows, Corner::Large,
                                       Corner::InfRows, Corner::ZeroRows,
                                       Corner::None};
  size_t number = 0;
  for (int64_t size : legal) {
    if (size == legal.front() && legal.size() > 1)
      continue;
    Corner corner = corners[number++ % std::size(corners)];
    if (auto added = addBatch(symbol, size, chosen, corner); !added)
      return added;
  }
  return {};
}

std::string Experiment::describe(const Batch &batch, size_t symbol, int64_t row,
                                 int64_t from, const std::string &what) const {
  return fmt::format("row {} of a batch of {} = {} and the same row, {} in a "
                     "batch of {} = {} at row {}: {}",
                     from, nameOf(symbol), batches.front().symbols[symbol],
                     batch.others, nameOf(symbol), batch.symbols[symbol], row,
                     what);
}

/// Whether even the reference's rows depend on their batch.
Result<void> Experiment::checkReference(size_t symbol) {
  std::vector<std::vector<Tensor>> results;
  for (const Batch &batch : batches) {
    auto result = oracle.evaluate(batch.views, options.threads);
    if (!result)
      return result.error();
    results.push_back(std::move(*result));
    std::vector<TensorView> first(results.front().begin(),
                                  results.front().end());
    std::vector<TensorView> own(results.back().begin(), results.back().end());
    for (auto [from, to] : batch.rows)
      if (auto what = compareRows(first, from, own, to); !what.empty()) {
        report.byDefinition.push_back("in the reference too: " +
                                      describe(batch, symbol, to, from, what));
        return {};
      }
  }
  return {};
}

void Experiment::checkSubject(size_t number, size_t symbol) {
  const Subject &subject = subjects[number];
  auto row = std::find_if(
      report.rows.begin(), report.rows.end(),
      [&](const BatchReport::Row &row) { return row.subject == number; });
  if (row == report.rows.end())
    row = report.rows.insert(row, {number, 0, 0, {}});
  std::vector<GuardedOutputs> outputs(batches.size());
  for (size_t b = 0; b < batches.size() && !isStopped(); ++b) {
    const Batch &batch = batches[b];
    if (auto done =
            runInto(subject.layer, batch.views, batch.symbols, outputs[b]);
        !done) {
      row->error = done.error().render();
      return;
    }
    if (options.afterRun)
      options.afterRun(subject, batch.symbols, outputs[b].getViews());
    if (b == 0)
      continue;
    for (auto [from, to] : batch.rows) {
      ++row->rows;
      std::string what =
          compareRows(outputs[0].getViews(), from, outputs[b].getViews(), to);
      if (what.empty())
        continue;
      ++row->differing;
      if (report.firstFailure.empty())
        report.firstFailure = fmt::format(
            "{}, fuse {}, placement {}, {} threads: {}", subject.setting.target,
            subject.setting.fuse, subject.setting.placement,
            subject.setting.threads, describe(batch, symbol, to, from, what));
    }
  }
}

Result<void> Experiment::check(size_t symbol) {
  for (const Oracle::SharedScale &shared : oracle.scalesSharedAlong(symbol))
    report.byDefinition.push_back(fmt::format(
        "line {}, column {}: the dynamic quantization{} shares a scale among "
        "{} of {}",
        shared.line, shared.column,
        shared.value.empty() ? "" : " " + shared.value,
        shared.block ? fmt::format("{} rows", shared.block) : "all rows",
        nameOf(symbol)));
  if (auto made = makeBatches(symbol); !made)
    return made;
  if (report.byDefinition.empty())
    if (auto checked = checkReference(symbol); !checked)
      return checked;
  // What holds by no definition is not asked of code.
  if (!report.byDefinition.empty())
    return {};
  for (size_t s = 0; s < subjects.size() && !isStopped(); ++s) {
    if (options.show)
      options.show(s + 1, subjects.size());
    checkSubject(s, symbol);
  }
  return {};
}

Result<BatchReport>
verify::checkBatchInvariance(const std::vector<Subject> &subjects,
                             const Oracle &oracle, const Sizes &sizes,
                             const BatchOptions &options) {
  auto symbols = findBatchSymbols(subjects.front().layer);
  if (!symbols)
    return symbols.error();
  BatchReport report;
  Experiment experiment(subjects, oracle, sizes, options, report);
  for (size_t symbol : *symbols) {
    report.symbols.push_back(subjects.front().layer.symbols()[symbol].name);
    if (auto checked = experiment.check(symbol); !checked)
      return checked.error();
  }
  return report;
}
