//===- Operands.cpp - Where a run's operands come from --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Operands.h"

#include "compiler/tools/quern/RunMemory.h"
#include "quern/io.h"
#include "runtime/jit/LayerState.h"
#include "runtime/module/ModuleVerifier.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

using namespace quern;
using namespace quern::tool;

/// Whether the layer accepts a value; `source` is what gave it.
static Result<void> checkSymbol(const SymbolDesc &symbol, int64_t value,
                                const std::string &source) {
  if (value >= symbol.min && value <= symbol.max &&
      value % symbol.multiple == 0)
    return {};
  std::string accepted =
      symbol.multiple == 1
          ? fmt::format("accepted is {} to {}", symbol.min, symbol.max)
          : fmt::format("accepted are multiples of {} from {} to {}",
                        symbol.multiple, symbol.min, symbol.max);
  return fail(Errc::InvalidArgument,
              fmt::format("{}: {} = {} is outside what the layer declares",
                          source, symbol.name, value),
              {accepted});
}

Result<std::vector<std::optional<int64_t>>>
quern::tool::parseSymbolValues(const std::vector<SymbolDesc> &symbols,
                               const std::vector<std::string> &settings) {
  std::vector<std::optional<int64_t>> values(symbols.size());
  std::vector<std::string> names;
  for (const SymbolDesc &symbol : symbols)
    names.push_back(symbol.name);
  for (const std::string &setting : settings) {
    auto halves = splitAssignment(setting, "--set");
    if (!halves)
      return halves.error();
    auto it = std::find(names.begin(), names.end(), halves->first);
    if (it == names.end())
      return fail(Errc::InvalidArgument,
                  fmt::format("the layer has no symbol {}", halves->first),
                  {names.empty() ? std::string("it has no symbols at all")
                                 : fmt::format("its symbols are {}",
                                               fmt::join(names, ", "))});
    int64_t value;
    const std::string &text = halves->second;
    auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0)
      return fail(Errc::InvalidArgument,
                  fmt::format("--set {}: {} is not a size", setting, text));
    const SymbolDesc &symbol = symbols[it - names.begin()];
    if (auto accepted = checkSymbol(symbol, value, "--set"); !accepted)
      return accepted.error();
    if (values[it - names.begin()])
      return fail(Errc::InvalidArgument,
                  fmt::format("--set gives {} twice, {} and {}", symbol.name,
                              *values[it - names.begin()], value));
    values[it - names.begin()] = value;
  }
  return values;
}

namespace {
/// An operand from a file.
struct Given {
  TensorView view;
  std::string source;
  /// Bytes of a row of packed elements whose number they do not tell.
  int64_t rowBytes = 0;
};

/// Collects operands from files by name.
class Gatherer {
public:
  explicit Gatherer(const Layer &layer) {
    for (const Operand &operand : layer.operands())
      if (operand.role != Operand::Role::Output)
        wanted.push_back(&operand);
  }

  const std::vector<const Operand *> &getWanted() const { return wanted; }
  bool has(const std::string &name) const { return found.count(name) != 0; }
  const std::map<std::string, Given> &getFound() const { return found; }

  /// Rows are as long as the layer says, where that many elements take their
  /// bytes.
  void setRow(const std::string &name, int64_t length) {
    Given &given = found.find(name)->second;
    if (given.rowBytes == static_cast<int64_t>(quern::rowBytes(
                              given.view.dtype, static_cast<uint64_t>(length))))
      given.view.shape[given.view.shape.rank() - 1] = length;
  }

  Result<void> add(const std::string &name, TensorView view,
                   const std::string &source) {
    const Operand *operand = find(name);
    if (!operand)
      return unknown(name, source);
    if (has(name))
      return fail(Errc::InvalidArgument,
                  fmt::format("operand {} is given twice, the second time by "
                              "{}",
                              name, source));
    if (isParameter(*operand))
      addUnitAxes(*operand, view);
    int64_t bytes = takeBytes(*operand, view);
    if (view.dtype != operand->dtype ||
        view.shape.rank() != operand->shape.size())
      return mismatch(*operand, view, source);
    if (operand->role == Operand::Role::Weight)
      if (auto index = findNaN(view))
        return fail(Errc::InvalidFile,
                    fmt::format("{}: weight {} is NaN at element {}", source,
                                name, *index));
    view.name = operand->name;
    found.emplace(name, Given{view, source, bytes});
    return {};
  }

  /// Scales and zero points, whose axes of extent 1 only say along what they
  /// do not vary.
  static bool isParameter(const Operand &operand) {
    return operand.name.ends_with(".scales") ||
           operand.name.ends_with(".zeros");
  }

  /// f32[128] is taken for f32[128, 1]: every axis that the layer declares as
  /// 1 may be missing in a file, if all of them are.
  static void addUnitAxes(const Operand &operand, TensorView &view) {
    auto units = std::count(operand.shape.begin(), operand.shape.end(), "1");
    // One number is one number, whatever its rank.
    bool single = static_cast<size_t>(units) == operand.shape.size();
    if (single && view.shape.elements() == 1)
      view.shape = Shape();
    if (view.shape.rank() + static_cast<size_t>(units) != operand.shape.size())
      return;
    std::vector<int64_t> shape;
    size_t next = 0;
    for (const std::string &extent : operand.shape)
      shape.push_back(extent == "1" ? 1 : view.shape[next++]);
    view.shape = Shape(std::span<const int64_t>(shape));
  }

  /// Files have no type for packed elements: their bytes are taken for them.
  /// Gives the bytes of a row where the operand's type does not tell its
  /// length, which is then taken as if the last byte was full.
  static int64_t takeBytes(const Operand &operand, TensorView &view) {
    unsigned rank = view.shape.rank();
    if (!isPacked(operand.dtype) || rank == 0 || rank != operand.shape.size() ||
        (view.dtype != DType::U8 && view.dtype != DType::I8))
      return 0;
    int64_t bytes = view.shape[rank - 1], length = 0;
    const std::string &extent = operand.shape.back();
    auto [end, error] =
        std::from_chars(extent.data(), extent.data() + extent.size(), length);
    bool isOpen = error != std::errc() || end != extent.data() + extent.size();
    if (isOpen)
      length = 2 * bytes;
    else if (static_cast<int64_t>(rowBytes(
                 operand.dtype, static_cast<uint64_t>(length))) != bytes)
      return 0;
    view.dtype = operand.dtype;
    view.shape[rank - 1] = length;
    return isOpen ? bytes : 0;
  }

  static Diagnostic mismatch(const Operand &operand, const TensorView &view,
                             const std::string &source,
                             std::vector<std::string> notes = {}) {
    if (isPacked(operand.dtype))
      notes.push_back("its elements are read from uint8 or int8, two to a byte "
                      "along the last axis, the first in the low half");
    return fail(Errc::InvalidFile,
                fmt::format("{}: operand {} is {}[{}], the file has {}{}",
                            source, operand.name, quern::name(operand.dtype),
                            fmt::join(operand.shape, ", "),
                            quern::name(view.dtype), view.shape.print()),
                std::move(notes));
  }

  Result<void> unknown(const std::string &name,
                       const std::string &source) const {
    std::vector<std::string> names;
    for (const Operand *operand : wanted)
      names.push_back(operand->name);
    return fail(Errc::InvalidArgument,
                fmt::format("{}: the layer has no operand {}", source, name),
                {fmt::format("its operands are {}", fmt::join(names, ", "))});
  }

  const Operand *find(const std::string &name) const {
    for (const Operand *operand : wanted)
      if (operand->name == name)
        return operand;
    return nullptr;
  }

private:
  std::vector<const Operand *> wanted;
  std::map<std::string, Given> found;
};
} // namespace

static Result<void> readInputs(Gatherer &gatherer, Operands &operands,
                               const RunOptions &options) {
  for (const std::string &input : options.inputs) {
    auto halves = splitAssignment(input, "--input");
    if (!halves)
      return halves.error();
    auto tensor = readNpy(halves->second);
    if (!tensor)
      return tensor.error();
    TensorView view(*tensor);
    // The elements stay where they are when the tensor moves.
    operands.owned.push_back(std::move(*tensor));
    if (auto added = gatherer.add(halves->first, view, halves->second); !added)
      return added.error();
  }
  return {};
}

/// The first names of a list, and how many there are more.
static std::string firstOf(const std::vector<std::string> &names) {
  constexpr size_t shown = 20;
  size_t n = std::min(names.size(), shown);
  std::string text =
      fmt::format("{}", fmt::join(names.begin(), names.begin() + n, ", "));
  return n == names.size()
             ? text
             : fmt::format("{} and {} more", text, names.size() - n);
}

/// Once weights come from files, all of them must.
static Result<void> checkAllFound(const Gatherer &gatherer,
                                  const Operands &operands,
                                  const RunOptions &options) {
  std::vector<std::string> missing, present;
  for (const Operand *operand : gatherer.getWanted())
    if (operand->role == Operand::Role::Weight && !gatherer.has(operand->name))
      missing.push_back(operand->name);
  if (missing.empty())
    return {};
  for (const SafeTensors &file : operands.files)
    for (const SafeTensors::Entry &entry : file.entries())
      present.push_back(entry.name);
  return fail(
      Errc::InvalidFile,
      fmt::format("{}: no tensor is named {}", fmt::join(options.weights, ", "),
                  fmt::join(missing, " or ")),
      {present.empty() ? std::string("the file is empty")
                       : fmt::format("present are {}", firstOf(present)),
       fmt::format("bind one by its name, as in --bind {}={}", missing.front(),
                   present.empty() ? "NAME" : present.front())});
}

static Result<void> readWeights(Gatherer &gatherer, Operands &operands,
                                const RunOptions &options) {
  std::map<std::string, std::string> bindings; // operand -> name in the file
  for (const std::string &bind : options.bind) {
    auto halves = splitAssignment(bind, "--bind");
    if (!halves)
      return halves.error();
    if (!gatherer.find(halves->first))
      return gatherer.unknown(halves->first, "--bind");
    if (!bindings.try_emplace(halves->first, halves->second).second)
      return fail(Errc::InvalidArgument,
                  fmt::format("--bind gives operand {} twice, as {} and {}",
                              halves->first, bindings[halves->first],
                              halves->second));
  }
  if (!bindings.empty() && options.weights.empty())
    return fail(Errc::InvalidArgument, "--bind needs --weights FILE");

  std::set<std::string> bound;
  for (const std::string &path : options.weights) {
    auto file = SafeTensors::open(path);
    if (!file)
      return file.error();
    operands.files.push_back(*file);
    std::set<std::string> names;
    for (const SafeTensors::Entry &entry : file->entries())
      names.insert(entry.name);
    for (const Operand *operand : gatherer.getWanted()) {
      auto binding = bindings.find(operand->name);
      const std::string &name =
          binding == bindings.end() ? operand->name : binding->second;
      if (!names.count(name))
        continue;
      bound.insert(operand->name);
      auto view = file->view(name);
      if (!view)
        return view.error();
      if (auto added = gatherer.add(operand->name, *view, path); !added)
        return added.error();
    }
  }
  for (const auto &[operand, name] : bindings)
    if (!bound.count(operand))
      return fail(Errc::InvalidFile,
                  fmt::format("--bind {}={}: no tensor of that name in {}",
                              operand, name, fmt::join(options.weights, ", ")));
  if (!options.weights.empty())
    return checkAllFound(gatherer, operands, options);
  return {};
}

/// Fills the symbols that `--set` left open from the shapes given, and checks
/// all shapes against them.
static Result<void> inferSymbols(const Layer &layer, Gatherer &gatherer,
                                 std::vector<std::optional<int64_t>> values,
                                 Operands &operands) {
  const detail::LayerState &state = detail::LayerAccess::state(layer);
  const std::vector<SymbolDesc> &symbols = state.symbolDescs;
  std::vector<std::string> origins(symbols.size(), "--set");
  // Lengths that bytes do not tell come last.
  for (bool isOpen : {false, true})
    for (const auto &[name, given] : gatherer.getFound()) {
      auto number =
          std::find(state.bufferNames.begin(), state.bufferNames.end(), name) -
          state.bufferNames.begin();
      const std::vector<SymExpr> &shape = state.variant.buffers[number].shape;
      for (size_t d = 0; d < shape.size(); ++d) {
        std::optional<LinearDimension> linear = asLinear(shape[d]);
        if (!linear || values[linear->symbol] ||
            isOpen != (given.rowBytes && d + 1 == shape.size()))
          continue;
        if (given.view.shape[d] % linear->factor != 0)
          return Gatherer::mismatch(
              *gatherer.find(name), given.view, given.source,
              {fmt::format("{} is not a multiple of {}", given.view.shape[d],
                           linear->factor)});
        values[linear->symbol] = given.view.shape[d] / linear->factor;
        origins[linear->symbol] = given.source;
      }
    }
  std::vector<SymbolRange> ranges;
  std::vector<std::string> notes;
  for (size_t s = 0; s < symbols.size(); ++s) {
    if (!values[s])
      continue;
    if (auto accepted = checkSymbol(symbols[s], *values[s], origins[s]);
        !accepted)
      return accepted.error();
    ranges.push_back({symbols[s].name, *values[s], *values[s]});
    notes.push_back(fmt::format("{} = {}, from {}", symbols[s].name, *values[s],
                                origins[s]));
  }
  // An operand whose own symbols are known must fit them, whatever else is
  // missing.
  for (const auto &[name, given] : gatherer.getFound()) {
    auto shape = layer.shapeOf(name, ranges);
    if (shape && given.rowBytes)
      gatherer.setRow(name, (*shape)[shape->rank() - 1]);
    if (shape ? *shape != given.view.shape : ranges.size() == symbols.size())
      return Gatherer::mismatch(*gatherer.find(name), given.view, given.source,
                                notes);
  }
  for (size_t s = 0; s < symbols.size(); ++s) {
    if (!values[s])
      return fail(Errc::InvalidArgument,
                  fmt::format("symbol {} has no value", symbols[s].name),
                  {fmt::format("give --set {}=N, or an operand whose shape "
                               "tells it",
                               symbols[s].name)});
    operands.symbols.push_back(*values[s]);
  }
  return {};
}

/// Draws the operands that no file gave.
static Result<void> drawOthers(const Gatherer &gatherer, const Oracle *oracle,
                               uint64_t seed, Operands &operands) {
  if (operands.drawn.empty())
    return {};
  std::vector<std::string> given;
  for (const auto &[name, operand] : gatherer.getFound())
    given.push_back(name);
  if (!oracle)
    return fail(
        Errc::InvalidArgument,
        fmt::format("no value was given for {}",
                    fmt::join(operands.drawn, ", ")),
        {"values are drawn by the layer's text, which this module does not "
         "carry: give --input or --weights"});
  auto drawn = oracle->drawInputs(operands.symbols, seed, given);
  if (!drawn)
    return drawn.error();
  for (Tensor &tensor : *drawn)
    operands.owned.push_back(std::move(tensor));
  return {};
}

Result<Operands> quern::tool::gatherOperands(const Layer &layer,
                                             const Oracle *oracle,
                                             const RunOptions &options) {
  Operands operands;
  Gatherer gatherer(layer);
  const std::vector<SymbolDesc> &symbols =
      detail::LayerAccess::state(layer).symbolDescs;
  auto values = parseSymbolValues(symbols, options.set);
  if (!values)
    return values.error();
  if (auto read = readInputs(gatherer, operands, options); !read)
    return read.error();
  if (auto read = readWeights(gatherer, operands, options); !read)
    return read.error();
  if (auto inferred = inferSymbols(layer, gatherer, *values, operands);
      !inferred)
    return inferred.error();
  for (const Operand *operand : gatherer.getWanted())
    if (!gatherer.has(operand->name))
      operands.drawn.push_back(operand->name);
  if (auto fits =
          checkMemory(layer, operands.symbols, operands.drawn, options.check);
      !fits)
    return fits.error();
  size_t read = operands.owned.size();
  if (auto drawn = drawOthers(gatherer, oracle, options.seed, operands); !drawn)
    return drawn.error();

  for (const Operand *operand : gatherer.getWanted()) {
    auto it = gatherer.getFound().find(operand->name);
    if (it != gatherer.getFound().end()) {
      operands.views.push_back(it->second.view);
      continue;
    }
    auto made = std::find_if(
        operands.owned.begin() + read, operands.owned.end(),
        [&](const Tensor &tensor) { return tensor.name() == operand->name; });
    if (made == operands.owned.end())
      return fail(Errc::Internal,
                  fmt::format("operand {} was not drawn", operand->name));
    operands.views.emplace_back(*made);
    operands.views.back().name = operand->name;
  }
  return operands;
}
