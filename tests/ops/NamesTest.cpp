//===- NamesTest.cpp - Whatever a layer calls its values ------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// Names of the language that mean something else in C++, in CUDA or in the
// kernels' own text, each as a parameter, a result, a symbol and a value:
// the emitted code must still compile.
//
//===----------------------------------------------------------------------===//

#include "compiler/pipelines/Compiler.h"
#include "runtime/device/cuda/Nvrtc.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

using namespace quern;

namespace {

const std::vector<std::string> allWords = {"_",
                                           "__x",
                                           "_X",
                                           "__",
                                           "_1",
                                           "__global__",
                                           "__fmaf_rn",
                                           "x__y",
                                           "M_",
                                           "v_int",
                                           "int2",
                                           "alignas",
                                           "and",
                                           "asm",
                                           "auto",
                                           "break",
                                           "case",
                                           "catch",
                                           "char",
                                           "char8_t",
                                           "class",
                                           "co_await",
                                           "concept",
                                           "const",
                                           "const_cast",
                                           "constexpr",
                                           "continue",
                                           "decltype",
                                           "default",
                                           "delete",
                                           "do",
                                           "double",
                                           "else",
                                           "enum",
                                           "explicit",
                                           "export",
                                           "extern",
                                           "false",
                                           "float",
                                           "for",
                                           "friend",
                                           "goto",
                                           "if",
                                           "inline",
                                           "int",
                                           "long",
                                           "mutable",
                                           "namespace",
                                           "new",
                                           "noexcept",
                                           "not",
                                           "not_eq",
                                           "nullptr",
                                           "operator",
                                           "or",
                                           "private",
                                           "public",
                                           "register",
                                           "requires",
                                           "short",
                                           "signed",
                                           "sizeof",
                                           "static",
                                           "static_assert",
                                           "struct",
                                           "switch",
                                           "template",
                                           "this",
                                           "thread_local",
                                           "throw",
                                           "true",
                                           "try",
                                           "typedef",
                                           "typeid",
                                           "typename",
                                           "union",
                                           "unsigned",
                                           "using",
                                           "virtual",
                                           "void",
                                           "volatile",
                                           "wchar_t",
                                           "while",
                                           "xor",
                                           "main",
                                           "s8",
                                           "s32",
                                           "s64",
                                           "e4m3",
                                           "e5m2",
                                           "gemm",
                                           "Gemm",
                                           "GemmTile",
                                           "GemmDefaults",
                                           "gemmTile",
                                           "tile",
                                           "acc",
                                           "inside",
                                           "factor",
                                           "addend",
                                           "quern",
                                           "Team",
                                           "WarpTeam",
                                           "min",
                                           "max",
                                           "blockDim",
                                           "blockIdx",
                                           "gridDim",
                                           "threadIdx",
                                           "warpSize",
                                           "forEach",
                                           "elementIndex",
                                           "reduceAddF",
                                           "smaller",
                                           "larger",
                                           "ceilDiv",
                                           "floorDiv",
                                           "floatOf",
                                           "toF32",
                                           "toF16",
                                           "wrapAdd",
                                           "roundEven",
                                           "strictExp",
                                           "strictMax",
                                           "fabsf",
                                           "element",
                                           "point",
                                           "epilogue",
                                           "rescale",
                                           "result",
                                           "m",
                                           "n",
                                           "k",
                                           "kb",
                                           "i",
                                           "value",
                                           "sum"};

/// Compiles texts of twenty words each, made by `text` from those words.
void compileAll(
    const std::function<std::string(const std::vector<std::string> &)> &text,
    const std::string &fuse = "all",
    const std::vector<std::string> &words = allWords) {
  bool compiles = bool(cuda::Nvrtc::get());
  for (size_t first = 0; first < words.size(); first += 20) {
    std::vector<std::string> some(words.begin() + first,
                                  words.begin() +
                                      std::min(first + 20, words.size()));
    std::string source = text(some);
    CompileRequest request;
    request.source = source;
    request.target = *Target::parse("cuda:sm_80");
    request.settings = {"fuse=" + fuse};
    request.wanted = {compiles ? Stage::Ptx : Stage::Cuda};
    request.textsOnly = true;
    auto output = compileLayer(request);
    ASSERT_TRUE(output) << source << output.error().render();
  }
}

std::string join(const std::vector<std::string> &names, const std::string &form,
                 const std::string &between) {
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    std::string item = form;
    for (auto [key, value] : {std::pair(std::string("NAME"), names[i]),
                              {"NUMBER", std::to_string(i)}})
      for (size_t at; (at = item.find(key)) != std::string::npos;)
        item.replace(at, key.size(), value);
    out += (i ? between : "") + item;
  }
  return out;
}

} // namespace

TEST(Names, Parameters) {
  compileAll([](const std::vector<std::string> &names) {
    return "layer t(" + join(names, "NAME: f16[M, 4]", ", ") +
           ") -> f16[M, 4] {\n  return exp(" + join(names, "NAME", " + ") +
           ")\n}\n";
  });
}

TEST(Names, OperandsOfProducts) {
  compileAll(
      [](const std::vector<std::string> &names) {
        return "layer t(x_: f16[M_1, 64], " +
               join(names, "NAME: f16[16, 64]", ", ") + ") -> (" +
               join(names, "r_NUMBER: f32[M_1, 16]", ", ") + ") {\n  return " +
               join(names, "x_ @ NAME.T", ", ") + "\n}\n";
      },
      "none",
      {"__x", "gemm", "tile", "acc", "epilogue", "m", "tile_0_product"});
}

TEST(Names, Symbols) {
  compileAll([](const std::vector<std::string> &names) {
    return "layer t(" + join(names, "p_NUMBER: f32[3, NAME]", ", ") + ") -> (" +
           join(names, "r_NUMBER: f32[NAME, 3]", ", ") + ") {\n  return " +
           join(names, "p_NUMBER.T * 2", ", ") + "\n}\n";
  });
}

TEST(Names, Results) {
  compileAll([](const std::vector<std::string> &names) {
    return "layer t(p_: f16[M_1, 4]) -> (" +
           join(names, "NAME: f16[M_1, 4]", ", ") + ") {\n  return " +
           join(names, "softmax(p_ * NUMBER)", ", ") + "\n}\n";
  });
}

TEST(Names, Values) {
  // Unfused, each value is a buffer of its own.
  compileAll(
      [](const std::vector<std::string> &names) {
        std::string text = "layer t(p_: f16[M_1, 4]) -> f16[M_1, 4] {\n";
        std::string before = "p_";
        for (const std::string &name : names) {
          text += fmt::format("  {} = relu({}) + p_\n", name, before);
          before = name;
        }
        return text + "  return " + before + "\n}\n";
      },
      "none");
}
