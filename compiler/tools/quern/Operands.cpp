//===- Operands.cpp - Where a run's operands come from --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Operands.h"

#include "quern/io.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

using namespace quern;
using namespace quern::tool;

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
    if (value < symbol.min || value > symbol.max ||
        value % symbol.multiple != 0)
      return fail(Errc::InvalidArgument,
                  fmt::format("{} = {} is outside what the layer declares",
                              symbol.name, value),
                  {fmt::format("accepted are multiples of {} from {} to {}",
                               symbol.multiple, symbol.min, symbol.max)});
    values[it - names.begin()] = value;
  }
  return values;
}

namespace {
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
  const std::map<std::string, TensorView> &getFound() const { return found; }

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
    if (view.dtype != operand->dtype)
      return fail(Errc::InvalidFile,
                  fmt::format("{}: operand {} is {}[{}], the file has {}{}",
                              source, name, quern::name(operand->dtype),
                              fmt::join(operand->shape, ", "),
                              quern::name(view.dtype), view.shape.print()));
    if (operand->role == Operand::Role::Weight)
      if (auto index = findNaN(view))
        return fail(Errc::InvalidFile,
                    fmt::format("{}: weight {} is NaN at element {}", source,
                                name, *index));
    view.name = operand->name;
    found.emplace(name, view);
    return {};
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
  std::map<std::string, TensorView> found;
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

static Result<void> readWeights(Gatherer &gatherer, Operands &operands,
                                const RunOptions &options) {
  std::map<std::string, std::string> bindings; // operand -> name in the file
  for (const std::string &bind : options.bind) {
    auto halves = splitAssignment(bind, "--bind");
    if (!halves)
      return halves.error();
    if (!gatherer.find(halves->first))
      return gatherer.unknown(halves->first, "--bind");
    bindings[halves->first] = halves->second;
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
    for (const Operand *operand : gatherer.getWanted())
      if (operand->role == Operand::Role::Weight &&
          !gatherer.has(operand->name))
        return fail(Errc::InvalidFile,
                    fmt::format("weight {} is in none of {}", operand->name,
                                fmt::join(options.weights, ", ")),
                    {fmt::format("bind it by --bind {}=NAME", operand->name)});
  return {};
}

/// Fills the symbols that `--set` left open from the shapes given.
static Result<void> inferSymbols(const Gatherer &gatherer, const Oracle &oracle,
                                 std::vector<std::optional<int64_t>> values,
                                 Operands &operands) {
  const std::vector<SymbolDesc> &symbols = oracle.symbols();
  for (const auto &[name, view] : gatherer.getFound()) {
    const Operand *operand = gatherer.find(name);
    for (size_t d = 0; d < operand->shape.size() && d < view.shape.rank(); ++d)
      for (size_t s = 0; s < symbols.size(); ++s)
        if (operand->shape[d] == symbols[s].name && !values[s])
          values[s] = view.shape[d];
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

Result<Operands> quern::tool::gatherOperands(const Layer &layer,
                                             const Oracle &oracle,
                                             const RunOptions &options) {
  Operands operands;
  Gatherer gatherer(layer);
  auto values = parseSymbolValues(oracle.symbols(), options.set);
  if (!values)
    return values.error();
  if (auto read = readInputs(gatherer, operands, options); !read)
    return read.error();
  if (auto read = readWeights(gatherer, operands, options); !read)
    return read.error();
  if (auto inferred = inferSymbols(gatherer, oracle, *values, operands);
      !inferred)
    return inferred.error();

  std::vector<std::string> given;
  for (const auto &[name, view] : gatherer.getFound())
    given.push_back(name);
  auto drawn = oracle.drawInputs(operands.symbols, options.seed, given);
  if (!drawn)
    return drawn.error();
  std::map<std::string, TensorView> made;
  for (Tensor &tensor : *drawn) {
    const Operand *operand = gatherer.find(tensor.name());
    if (!operand)
      return fail(Errc::Internal,
                  fmt::format("drew {}, which is no operand", tensor.name()));
    TensorView view(tensor);
    view.name = operand->name;
    made.emplace(operand->name, view);
    operands.drawn.push_back(operand->name);
    operands.owned.push_back(std::move(tensor));
  }
  for (const Operand *operand : gatherer.getWanted()) {
    auto it = gatherer.getFound().find(operand->name);
    operands.views.push_back(
        it != gatherer.getFound().end() ? it->second : made.at(operand->name));
  }
  return operands;
}
