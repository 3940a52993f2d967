//===- ContractCase.cpp - Products as tile IR text ------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/ContractCase.h"

#include <fmt/format.h>

#include <vector>

using namespace quern::test;

namespace {

struct Argument {
  std::string name, part, role, shape, element;
  std::string type() const {
    return fmt::format("!tile.buffer<()[s0] -> ({}), {}>", shape, element);
  }
};

} // namespace

std::string ContractCase::text() const {
  std::string symbols =
      fmt::format("[#tile.symbol<\"M\", 0, {}, 1>]", maxM ? maxM : INT64_MAX);
  std::string lead = batch ? fmt::format("{}, ", batch) : "";
  std::string rhsLead = batch && rhsHasBatch ? lead : "";
  std::vector<Argument> args;
  args.push_back({"x", "values", "input",
                  lead + (lhsTransposed ? fmt::format("{}, s0", K)
                                        : fmt::format("s0, {}", K)),
                  lhs});
  for (int t = 0; t < terms; ++t)
    args.push_back({fmt::format("w{}", t), "values", "weight",
                    rhsLead + (rhsTransposed ? fmt::format("{}, {}", K, N)
                                             : fmt::format("{}, {}", N, K)),
                    decodeRhs ? codes : rhs});
  args.push_back(
      {"sx", "values", "input", fmt::format("s0, {}", blocks()), "f32"});
  for (int t = 0; t < terms; ++t)
    args.push_back({fmt::format("sw{}", t), "values", "weight",
                    fmt::format("{}, {}", N, blocks()),
                    narrowScales ? rhs : "f32"});
  for (int t = 0; zeros && t < terms; ++t)
    args.push_back({fmt::format("zr{}", t), "values", "weight",
                    fmt::format("{}, {}", N, blocks()), codes});
  if (corrected) {
    args.push_back(
        {"zx", "values", "input", fmt::format("s0, {}", blocks()), "i32"});
    for (int t = 0; t < terms; ++t)
      args.push_back({fmt::format("zw{}", t), "values", "weight",
                      fmt::format("{}, {}", N, blocks()), "i32"});
  }
  args.push_back(
      {"y", "values", "output", lead + fmt::format("s0, {}", N), "f32"});

  std::string out = fmt::format(
      "tile.program @layer symbols {} numerics \"strict\" {{\n", symbols);
  std::string operands, types, params, writes;
  for (const Argument &arg : args) {
    out += fmt::format("  %{0} = tile.buffer \"{0}\" \"{1}\" {2} : {3}\n",
                       arg.name, arg.part, arg.role, arg.type());
    const char *comma = operands.empty() ? "" : ", ";
    operands += fmt::format("{}%{}", comma, arg.name);
    types += comma + arg.type();
    params += fmt::format("{}%{}: {}", comma, arg.name, arg.type());
    writes += fmt::format("{}{}", comma, arg.role == "output");
  }
  out += fmt::format("  tile.launch @product({}) : {}\n}}\n", operands, types);
  out += fmt::format(
      "tile.kernel @product attributes {{symbols = {}, writes = array<i1: {}>, "
      "numerics_class = {} : i32, reason = \"test\"}} ({}) {{\n",
      symbols, writes, isFloat() ? 2 : 0, params);

  auto typeOf = [&](const std::string &name) {
    for (const Argument &arg : args)
      if (arg.name == name)
        return arg.type();
    return std::string();
  };
  // A load of `name` at results of the region's arguments.
  auto load = [&](const std::string &result, const std::string &name,
                  const std::string &indices, int dims,
                  const std::string &results, const std::string &type) {
    std::string names;
    for (int i = 0; i < dims; ++i)
      names += fmt::format("{}d{}", i ? ", " : "", i);
    return fmt::format("    %{} = tile.load %{} at affine_map<({})[s0] -> ({})>"
                       " ({}) : {} -> {}\n",
                       result, name, names, results, indices, typeOf(name),
                       type);
  };
  std::string b = batch ? "%b, " : "", bArg = batch ? "%b: index, " : "";
  int base = batch ? 1 : 0;
  std::string termList;
  for (int t = 0; t < terms; ++t)
    termList += fmt::format("{}0, {}", t ? ", " : "", t);
  std::string acc = isFloat() || split ? "f32" : "i32";
  out += fmt::format(
      "  tile.contract {{extents = affine_map<()[s0] -> ({}s0, {}, {})>, "
      "num_batch = {} : i64, num_lhs = 1 : i64, terms = array<i64: "
      "{}>{}{}{}}}\n",
      lead, N, K, base, termList, lhs == "ui8" ? ", lhs_unsigned" : "",
      rhs == "ui8" || rhs == "ui4" ? ", rhs_unsigned" : "",
      split ? fmt::format(", split = {} : i64", split) : "");

  // Epilogue.
  std::string accs;
  for (int t = 0; t < terms; ++t)
    accs += fmt::format(", %acc{}: {}", t, acc);
  out += fmt::format("  epilogue ({}%m: index, %n: index{}) {{\n", bArg, accs);
  std::string at = b + "%m, %n";
  int dims = base + 2;
  std::string m = fmt::format("d{}", base), n = fmt::format("d{}", base + 1);
  for (int t = 0; t < terms; ++t) {
    if (acc == "f32") {
      out += fmt::format("    %v{0} = arith.negf %acc{0} : f32\n"
                         "    %r{0} = arith.negf %v{0} : f32\n",
                         t);
      continue;
    }
    out += fmt::format("    %f{0} = arith.sitofp %acc{0} : i32 to f32\n", t);
    out += load(fmt::format("a{}", t), "sx", at, dims, m + ", 0", "f32");
    out += fmt::format("    %p{0} = arith.mulf %f{0}, %a{0} : f32\n", t);
    out += load(fmt::format("c{}", t), fmt::format("sw{}", t), at, dims,
                n + ", 0", "f32");
    out += fmt::format("    %r{0} = arith.mulf %p{0}, %c{0} : f32\n", t);
  }
  std::string result = "%r0";
  if (terms > 1) {
    out += "    %neg = arith.negf %r0 : f32\n    %e = math.exp %neg : f32\n"
           "    %one = arith.constant 1.0 : f32\n"
           "    %den = arith.addf %one, %e : f32\n"
           "    %silu = arith.divf %r0, %den : f32\n"
           "    %g1 = arith.mulf %silu, %r1 : f32\n";
    result = "%g1";
    for (int t = 2; t < terms; ++t) {
      out +=
          fmt::format("    %g{0} = arith.addf {1}, %r{0} : f32\n", t, result);
      result = fmt::format("%g{}", t);
    }
  }
  std::string names, results;
  for (int i = 0; i < dims; ++i) {
    names += fmt::format("{}d{}", i ? ", " : "", i);
  }
  out += fmt::format("    tile.store {} to %y at affine_map<({})[s0] -> ({})> "
                     "({}) : f32, {}\n    tile.yield\n  }}\n",
                     result, names, names, at, typeOf("y"));

  if (split) {
    out += fmt::format("  rescale ({}%m: index, %n: index, %kb: index) {{\n",
                       bArg);
    std::string rescaleAt = at + ", %kb", kb = fmt::format("d{}", base + 2);
    out += load("a", "sx", rescaleAt, dims + 1, m + ", " + kb, "f32");
    std::string yields, yieldTypes;
    for (int t = 0; t < terms; ++t) {
      out += load(fmt::format("c{}", t), fmt::format("sw{}", t), rescaleAt,
                  dims + 1, n + ", " + kb, "f32");
      out += fmt::format("    %s{0} = arith.mulf %a, %c{0} : f32\n", t);
      yields += fmt::format("{}%s{}", t ? ", " : "", t);
      yieldTypes += t ? ", f32" : "f32";
    }
    if (corrected)
      out += load("px", "zx", rescaleAt, dims + 1, m + ", " + kb, "i32");
    for (int t = 0; corrected && t < terms; ++t) {
      out += load(fmt::format("pw{}", t), fmt::format("zw{}", t), rescaleAt,
                  dims + 1, n + ", " + kb, "i32");
      out += fmt::format("    %z{0} = arith.muli %px, %pw{0} : i32\n", t);
      yields += fmt::format(", %z{}", t);
      yieldTypes += ", i32";
    }
    out += fmt::format("    tile.yield {} : {}\n  }}\n", yields, yieldTypes);
  }

  // Operands: d0 is the batch element if there is one, then row and k.
  auto operand = [&](const std::string &name, const std::string &type,
                     bool transposed, bool hasBatch, bool decode) {
    std::string loaded =
        type == "ui8" || type == "i4" || type == "ui4" ? "i8" : type;
    std::string where = hasBatch ? "d0, " : "";
    where += transposed ? n + ", " + m : m + ", " + n;
    out += fmt::format("  operand ({}%r: index, %k: index) {{\n", bArg);
    std::string indices = b + "%r, %k";
    if (!decode) {
      out += load("v", name, indices, dims, where, loaded);
    } else {
      out += load("code", name, indices, dims, where, "i8");
      const char *toFloat = codes == "ui4" ? "uitofp" : "sitofp";
      out += fmt::format("    %f = arith.{} %code : i8 to f32\n", toFloat);
      std::string at =
          group ? fmt::format("{}, {} floordiv {}", m, n, group) : m + ", 0";
      std::string number = "%f";
      if (zeros) {
        out += load("zero", "zr" + name.substr(1), indices, dims, at, "i8");
        out += fmt::format("    %z = arith.{} %zero : i8 to f32\n"
                           "    %d = arith.subf %f, %z : f32\n",
                           toFloat);
        number = "%d";
      }
      if (narrowScales) {
        out += load("narrow", "s" + name, indices, dims, at, loaded);
        out += fmt::format("    %s = arith.extf %narrow : {} to f32\n", loaded);
      } else {
        out += load("s", "s" + name, indices, dims, at, "f32");
      }
      out += fmt::format("    %p = arith.mulf {}, %s : f32\n", number);
      out += fmt::format("    %v = arith.truncf %p : f32 to {}\n", loaded);
    }
    out += fmt::format("    tile.yield %v : {}\n  }}\n", loaded);
  };
  operand("x", lhs, lhsTransposed, batch != 0, false);
  for (int t = 0; t < terms; ++t)
    operand(fmt::format("w{}", t), rhs, rhsTransposed, batch && rhsHasBatch,
            decodeRhs);
  return out + "}\n";
}
