//===- ModuleVerifier.cpp - What a runnable module must satisfy -----------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/module/ModuleVerifier.h"

#include "runtime/module/ModuleFormat.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

using namespace quern;

namespace {

Diagnostic broken(std::string reason) {
  return fail(Errc::InvalidFile, "not a valid module: " + std::move(reason));
}

class Verifier {
public:
  explicit Verifier(const ModuleDesc &module) : module(module) {}

  Result<void> run() {
    if (module.layer.empty())
      return broken("the layer has no name");
    if (module.symbols.size() > format::maxSymbols)
      return broken(fmt::format("it has {} symbols, above {}",
                                module.symbols.size(), format::maxSymbols));
    std::set<std::string_view> names;
    for (const SymbolDesc &s : module.symbols) {
      if (s.name.empty() || !names.insert(s.name).second)
        return broken(
            fmt::format("symbol name '{}' is empty or not unique", s.name));
      if (s.min < 0 || s.max < s.min || s.multiple < 1)
        return broken(fmt::format("symbol {} has the range {}..{} and multiple "
                                  "{}",
                                  s.name, s.min, s.max, s.multiple));
    }
    for (const VariantDesc &variant : module.variants)
      if (Result<void> ok = checkVariant(variant); !ok)
        return broken(fmt::format("variant '{}': {}", variant.target,
                                  ok.error().message));
    return {};
  }

private:
  static Diagnostic rule(std::string reason) {
    return fail(Errc::InvalidFile, std::move(reason));
  }

  /// Every symbol of the expression exists and, when given, is allowed.
  bool symbolsExist(const SymExpr &expr,
                    const std::vector<bool> *allowed = nullptr) const {
    return std::all_of(expr.nodes().begin(), expr.nodes().end(),
                       [&](const auto &node) {
                         if (node.op != SymExpr::Op::Symbol)
                           return true;
                         auto index = static_cast<uint64_t>(node.value);
                         return index < module.symbols.size() &&
                                (!allowed || (*allowed)[index]);
                       });
  }

  Result<void> checkVariant(const VariantDesc &variant) {
    if (variant.target.empty())
      return rule("it has no target");
    std::map<std::string, const BufferDesc *> operands;
    for (const BufferDesc &b : variant.buffers) {
      if (b.name.empty())
        return rule("a buffer has no name");
      if (b.shape.size() > format::maxRank)
        return rule(fmt::format("buffer '{}' has rank {}, above {}", b.name,
                                b.shape.size(), format::maxRank));
      if (!std::has_single_bit(b.alignment) ||
          b.alignment > format::maxAlignment)
        return rule(
            fmt::format("buffer '{}' has alignment {}", b.name, b.alignment));
      for (const SymExpr &dim : b.shape)
        if (!symbolsExist(dim))
          return rule(fmt::format("the shape of '{}' uses a symbol that does "
                                  "not exist",
                                  b.name));
      if (!inSignature(b.role))
        continue;
      auto [it, isNew] = operands.try_emplace(b.name + "." + b.part, &b);
      // The output of an input's name is what that holds afterwards.
      if (!isNew && !isUpdateOf(it->second, b))
        return rule(
            fmt::format("two operands are named '{}.{}'", b.name, b.part));
      it->second = isNew ? &b : nullptr;
    }
    if (!sameSignature(variant, module.variants.front()))
      return rule("its signature differs from the first variant's");
    if (Result<void> ok = checkLaunches(variant); !ok)
      return ok;
    if (Result<void> ok = checkStrips(variant); !ok)
      return ok;
    return checkCode(variant);
  }

  /// `first` may be null: a third of the name.
  static bool isUpdateOf(const BufferDesc *first, const BufferDesc &second) {
    return first && first->role == BufferRole::Input &&
           second.role == BufferRole::Output && first->dtype == second.dtype &&
           first->shape == second.shape;
  }

  static bool sameSignature(const VariantDesc &a, const VariantDesc &b) {
    auto signature = [](const VariantDesc &v) {
      std::vector<BufferDesc> out;
      for (BufferDesc buffer : v.buffers)
        if (inSignature(buffer.role)) {
          buffer.alignment = 1; // Each target's own matter.
          out.push_back(std::move(buffer));
        }
      return out;
    };
    return &a == &b || signature(a) == signature(b);
  }

  Result<void> checkLaunches(const VariantDesc &variant) {
    std::vector<bool> fixed = symbolsFixedByWeights(module, variant);
    std::vector<bool> packed(variant.buffers.size(), false);
    for (const BufferDesc &b : variant.buffers)
      if (b.role == BufferRole::Packed)
        for (const SymExpr &dim : b.shape)
          if (!symbolsExist(dim, &fixed))
            return rule(fmt::format("the shape of packed buffer '{}' depends "
                                    "on more than the weights",
                                    b.name));
    for (size_t i = 0; i < variant.launches.size(); ++i) {
      const LaunchDesc &launch = variant.launches[i];
      bool prepare = launch.phase == LaunchPhase::Prepare;
      if (launch.kernel >= variant.kernels.size())
        return rule(fmt::format("launch {} uses kernel {} of {}", i,
                                launch.kernel, variant.kernels.size()));
      for (uint32_t index : launch.buffers) {
        if (index >= variant.buffers.size())
          return rule(fmt::format("launch {} uses buffer {} of {}", i, index,
                                  variant.buffers.size()));
        const BufferDesc &b = variant.buffers[index];
        if (prepare && b.role != BufferRole::Weight &&
            b.role != BufferRole::Packed)
          return rule(fmt::format("prepare launch {} uses '{}', which exists "
                                  "in runs only",
                                  i, b.name));
        if (prepare)
          packed[index] = true;
      }
      std::vector<SymExpr> sizes = {
          launch.items, launch.grain, launch.scratchBytes,
          launch.dynamicSharedBytes, launch.residentBlocks};
      sizes.insert(sizes.end(), launch.grid.begin(), launch.grid.end());
      for (const SymExpr &size : sizes)
        if (!symbolsExist(size, prepare ? &fixed : nullptr))
          return rule(fmt::format(
              "a size of launch {} uses a symbol that {}", i,
              prepare ? "the weights do not fix" : "does not exist"));
      if (Result<void> ok = checkRanges(launch, i); !ok)
        return ok;
      if (launch.cluster < 1 || launch.cluster > format::maxCluster)
        return rule(fmt::format("launch {} has clusters of {} blocks", i,
                                launch.cluster));
      if (launch.cluster > 1 && launch.kind != LaunchKind::Independent)
        return rule(fmt::format("launch {} has clusters and a queue", i));
      uint64_t threads = 1;
      for (uint32_t extent : launch.block) {
        if (extent < 1 || extent > 1024)
          return rule(
              fmt::format("launch {} has a block extent of {}", i, extent));
        threads *= extent;
      }
      if (threads > 1024)
        return rule(
            fmt::format("launch {} has {} threads per block", i, threads));
    }
    for (size_t i = 0; i < variant.launches.size(); ++i)
      if (variant.launches[i].phase == LaunchPhase::Run)
        for (uint32_t index : variant.launches[i].buffers)
          if (variant.buffers[index].role == BufferRole::Packed &&
              !packed[index])
            return rule(fmt::format("launch {} reads packed buffer '{}', which "
                                    "no prepare launch writes",
                                    i, variant.buffers[index].name));
    return {};
  }

  Result<void> checkRanges(const LaunchDesc &launch, size_t number) const {
    if (!launch.when.empty() && launch.phase == LaunchPhase::Prepare)
      return rule(fmt::format("launch {} happens for some sizes alone, and "
                              "prepares weights for all",
                              number));
    std::vector<bool> seen(module.symbols.size(), false);
    for (const RangeDesc &range : launch.when) {
      if (range.symbol >= module.symbols.size())
        return rule(fmt::format("launch {} depends on a symbol that does not "
                                "exist",
                                number));
      if (seen[range.symbol])
        return rule(fmt::format("launch {} has two ranges for {}", number,
                                module.symbols[range.symbol].name));
      seen[range.symbol] = true;
      const SymbolDesc &symbol = module.symbols[range.symbol];
      if (range.min > range.max || range.min < symbol.min ||
          range.max > symbol.max)
        return rule(fmt::format("launch {} happens for {} from {} to {}, which "
                                "is no range within {}..{}",
                                number, symbol.name, range.min, range.max,
                                symbol.min, symbol.max));
    }
    return {};
  }

  Result<void> checkStrips(const VariantDesc &variant) const {
    if (!variant.rowSymbol)
      return {};
    uint32_t number = *variant.rowSymbol;
    if (number >= module.symbols.size())
      return rule("it is run in strips of a symbol that does not exist");
    const SymbolDesc &symbol = module.symbols[number];
    auto refuse = [&](std::string reason) {
      return rule(fmt::format("it is run in strips of {}, and {}", symbol.name,
                              reason));
    };
    if (!isCpu(variant))
      return refuse("is not for a CPU");
    if (symbol.min > 1 || symbol.multiple != 1)
      return refuse("that cannot be any number of rows");
    for (const BufferDesc &b : variant.buffers) {
      if (b.role == BufferRole::State)
        return refuse("has state");
      auto uses = [&](const SymExpr &dim) {
        return std::ranges::any_of(dim.nodes(), [&](const auto &node) {
          return node.op == SymExpr::Op::Symbol && node.value == number;
        });
      };
      bool any = std::ranges::any_of(b.shape, uses);
      if (!any && b.role != BufferRole::Output)
        continue;
      if (b.role == BufferRole::Weight || b.role == BufferRole::Packed)
        return refuse(fmt::format("'{}' depends on it", b.name));
      if (b.role != BufferRole::Temporary &&
          (!any || b.shape[0].nodes().size() != 1 || !uses(b.shape[0]) ||
           std::any_of(b.shape.begin() + 1, b.shape.end(), uses)))
        return refuse(fmt::format("'{}' is no list of that many rows", b.name));
    }
    if (std::ranges::any_of(variant.launches, [](const LaunchDesc &launch) {
          return !launch.when.empty();
        }))
      return refuse("has launches for some sizes alone");
    return {};
  }

  static bool isCpu(const VariantDesc &variant) {
    return variant.target == "cpu" || variant.target.starts_with("cpu:");
  }

  static Result<void> checkCode(const VariantDesc &variant) {
    bool cpu = isCpu(variant);
    std::set<std::string_view> entries;
    bool runnable = false;
    for (const CodeDesc &code : variant.code) {
      if (code.bytes.empty())
        return rule("a code object is empty");
      if (code.kind != CodeKind::CpuImage && !code.symbols.empty())
        return rule("a code object other than a CPU image lists entry points");
      if (cpu != (code.kind == CodeKind::CpuImage))
        return rule("a code object is of another target's kind");
      runnable |= code.kind != CodeKind::CudaSource;
      for (const CodeSymbol &symbol : code.symbols) {
        if (symbol.offset >= code.bytes.size())
          return rule(fmt::format("entry point '{}' lies outside its image",
                                  symbol.name));
        if (!entries.insert(symbol.name).second)
          return rule(
              fmt::format("two entry points are named '{}'", symbol.name));
      }
    }
    std::set<std::string_view> kernels;
    for (const KernelDesc &kernel : variant.kernels) {
      if (kernel.name.empty() || !kernels.insert(kernel.name).second)
        return rule(fmt::format("kernel name '{}' is empty or not unique",
                                kernel.name));
      if (cpu && !entries.contains(kernel.name))
        return rule(fmt::format("kernel '{}' has no entry point", kernel.name));
    }
    if (!variant.kernels.empty() && !runnable)
      return rule("it has kernels and no code");
    return {};
  }

  const ModuleDesc &module;
};

} // namespace

Result<void> quern::verifyModule(const ModuleDesc &module) {
  return Verifier(module).run();
}

std::optional<LinearDimension> quern::asLinear(const SymExpr &expr) {
  std::span<const SymExpr::Node> n = expr.nodes();
  if (n.size() == 1 && n[0].op == SymExpr::Op::Symbol)
    return LinearDimension{static_cast<unsigned>(n[0].value), 1};
  if (n.size() != 3 || n[2].op != SymExpr::Op::Mul)
    return std::nullopt;
  const SymExpr::Node &s = n[0].op == SymExpr::Op::Symbol ? n[0] : n[1];
  const SymExpr::Node &c = n[0].op == SymExpr::Op::Symbol ? n[1] : n[0];
  if (s.op != SymExpr::Op::Symbol || c.op != SymExpr::Op::Constant ||
      c.value <= 0)
    return std::nullopt;
  return LinearDimension{static_cast<unsigned>(s.value), c.value};
}

std::vector<bool> quern::symbolsFixedByWeights(const ModuleDesc &module,
                                               const VariantDesc &variant) {
  std::vector<bool> fixed(module.symbols.size(), false);
  for (const BufferDesc &buffer : variant.buffers)
    if (buffer.role == BufferRole::Weight)
      for (const SymExpr &dim : buffer.shape)
        if (std::optional<LinearDimension> linear = asLinear(dim);
            linear && linear->symbol < fixed.size())
          fixed[linear->symbol] = true;
  return fixed;
}
