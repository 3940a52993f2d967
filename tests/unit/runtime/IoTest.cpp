//===- IoTest.cpp - Tensors in files --------------------------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "TempFolder.h"

#include "quern/io.h"
#include "runtime/io/AtomicFile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <iterator>

using namespace quern;
using namespace quern::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

std::string readText(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A version-1 file with that header and data.
std::string npy(std::string header, std::string data, char major = 1) {
  std::string out = std::string("\x93NUMPY") + major + '\0';
  uint32_t size = static_cast<uint32_t>(header.size());
  out.append(reinterpret_cast<const char *>(&size), major == 1 ? 2 : 4);
  return out + header + data;
}

const std::string f32Header =
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }  \n";

TEST(Npy, RoundTrip) {
  TempFolder temp;
  std::vector<float> values = {0, 1, 2, 100, 5, 1};
  for (DType type : {DType::Bool, DType::I8, DType::U8, DType::I32, DType::I64,
                     DType::F16, DType::F32})
    for (Shape shape : {Shape{2, 3}, Shape{6}, Shape{1, 2, 3, 1, 1, 1}}) {
      Tensor t = *Tensor::fromFloats(type, shape, values);
      ASSERT_TRUE(writeNpy(temp / "t.npy", t));
      Result<Tensor> back = readNpy(temp / "t.npy");
      ASSERT_TRUE(back) << back.error().render();
      EXPECT_EQ(back->dtype(), type);
      EXPECT_EQ(back->shape(), shape);
      EXPECT_EQ(back->toFloats(), t.toFloats());
    }
  for (Shape shape : {Shape{}, Shape{0}, Shape{3, 0}}) {
    Tensor t = *Tensor::zeros(DType::F32, shape);
    ASSERT_TRUE(writeNpy(temp / "t.npy", t));
    Result<Tensor> back = readNpy(temp / "t.npy");
    ASSERT_TRUE(back) << back.error().render();
    EXPECT_EQ(back->shape(), shape);
  }
}

TEST(Npy, WritesWhatNumPyWrites) {
  TempFolder temp;
  Tensor t = *Tensor::zeros(DType::F32, {2, 3});
  ASSERT_TRUE(writeNpy(temp / "t.npy", t));
  std::string text = readText(temp / "t.npy");
  EXPECT_EQ(text.size(), 128u + 24);
  EXPECT_EQ(text.substr(0, 10), std::string("\x93NUMPY\x01\0v\0", 10));
  EXPECT_THAT(text, HasSubstr("{'descr': '<f4', 'fortran_order': False, "
                              "'shape': (2, 3), }"));
  EXPECT_EQ(text[127], '\n');
}

TEST(Npy, ReadsOtherSpellings) {
  TempFolder temp;
  std::string data(8, '\0');
  for (const std::string &text :
       {npy(f32Header, data), npy(f32Header, data, 2), npy(f32Header, data, 3),
        npy("{\"shape\": (2L,), 'fortran_order':True,'descr':\"=f4\"}", data),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)}",
            data)}) {
    Result<Tensor> t = readNpy(temp.write("t.npy", text));
    ASSERT_TRUE(t) << t.error().render();
    EXPECT_EQ(t->elements(), 2);
  }
}

TEST(SafeTensors, FileThatIsCutWhileOpenIsAnError) {
  TempFolder temp;
  std::string header =
      R"({"a":{"dtype":"F32","shape":[2048],"data_offsets":[0,8192]},)"
      R"("b":{"dtype":"F32","shape":[2048],"data_offsets":[8192,16384]}})";
  uint64_t size = header.size();
  std::string text(reinterpret_cast<const char *>(&size), 8);
  std::string path =
      temp.write("t.safetensors", text + header + std::string(16384, '\0'));
  Result<SafeTensors> file = SafeTensors::open(path);
  ASSERT_TRUE(file) << file.error().render();
  Result<TensorView> a = file->view("a");
  ASSERT_TRUE(a) << a.error().render();
  std::filesystem::resize_file(path, 8 + header.size() + 9000);
  // What was read before stays; a mapping would fault here.
  EXPECT_EQ(static_cast<const float *>(a->data)[2047], 0.0f);
  EXPECT_EQ(file->view("a")->data, a->data);
  Result<TensorView> b = file->view("b");
  ASSERT_FALSE(b);
  EXPECT_EQ(b.error().code, Errc::InvalidFile);
  EXPECT_THAT(b.error().render(), HasSubstr("t.safetensors: error"));
  EXPECT_THAT(b.error().render(), HasSubstr("it was cut while it was read"));
}

TEST(Npy, MalformedFilesAreRefused) {
  TempFolder temp;
  auto expect = [&](const std::string &text, const char *part) {
    Result<Tensor> t = readNpy(temp.write("t.npy", text));
    ASSERT_FALSE(t) << part;
    EXPECT_EQ(t.error().code, Errc::InvalidFile);
    EXPECT_THAT(t.error().render(), HasSubstr(part));
    EXPECT_THAT(t.error().render(), HasSubstr("t.npy: error"));
  };
  std::string data(8, '\0');
  auto header = [](std::string descr, std::string shape,
                   std::string order = "False") {
    return "{'descr': '" + descr + "', 'fortran_order': " + order +
           ", 'shape': " + shape + ", }\n";
  };
  std::string good = npy(f32Header, data);
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(readNpy(temp.write("t.npy", good.substr(0, size)))) << size;
  expect("hello", "does not begin with");
  expect(npy(f32Header, data, 4), "version 4");
  expect(npy(f32Header, data + "x"), "does not match its 9 bytes");
  expect(npy(header("<f4", "(3,)"), data), "shape [3] of f32");
  expect(npy(header(">f4", "(2,)"), data), "a.astype('<f4')");
  expect(npy(header("<f8", "(1,)"), data), "type '<f8'");
  expect(npy(header("|V2", "(4,)"), data), "bf16 and fp8");
  expect(npy(header("<f4", "(1, 2)", "True"), data), "Fortran order");
  expect(npy(header("<f4", "(2)"), data), "not a dictionary");
  expect(npy(header("<f4", "(-2,)"), data), "not a dictionary");
  expect(npy(header("<f4", "(2.0,)"), data), "not a dictionary");
  expect(npy(header("<f4", "(99999999999999999999,)"), data),
         "not a dictionary");
  expect(npy(header("<f4", "(4611686018427387904, 4)"), data),
         "does not match");
  expect(npy(header("<f4", "(4611686018427387906,)"), data), "does not match");
  expect(npy(header("<f4", "(1,1,1,1,1,1,2)"), data), "rank 7");
  expect(npy("{'descr': '<f4', 'shape': (2,)}", data), "not a dictionary");
  expect(npy("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, "
             "'shape': (2,)}",
             data),
         "not a dictionary");
  expect(npy(f32Header + "x", data), "not a dictionary");
  expect(npy("{'descr", data), "not a dictionary");
  Result<Tensor> none = readNpy(temp / "absent.npy");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("cannot open"));
}

TEST(Npy, WhatCannotBeWritten) {
  TempFolder temp;
  Tensor t = *Tensor::zeros(DType::BF16, {2});
  Result<void> done = writeNpy(temp / "t.npy", t);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().render(), HasSubstr("no type for bf16"));
  Tensor f = *Tensor::zeros(DType::F32, {2});
  EXPECT_FALSE(writeNpy(temp / "absent/t.npy", f));
  EXPECT_FALSE(writeNpy("/dev/full", *Tensor::zeros(DType::F32, {100000})));
}

TEST(AtomicFiles, AllOrNone) {
  TempFolder temp;
  std::string a = temp.write("a", std::string("old a")), b = temp / "b";
  auto text = [](const char *words) {
    return std::as_bytes(std::span(words, std::strlen(words)));
  };
  auto names = [&] {
    return std::distance(std::filesystem::directory_iterator(temp.path), {});
  };
  {
    AtomicFiles files;
    std::span<const std::byte> pieces[] = {text("new "), text("a")};
    ASSERT_TRUE(files.add(a, pieces));
    EXPECT_EQ(readText(a), "old a") << "replaced before the others are written";
    Result<void> full = files.add("/dev/full", pieces);
    ASSERT_FALSE(full);
    EXPECT_THAT(full.error().message, HasSubstr("No space left"));
  }
  EXPECT_EQ(readText(a), "old a");
  EXPECT_EQ(names(), 1) << "a temporary file is left behind";
  {
    AtomicFiles files;
    std::span<const std::byte> first[] = {text("1")}, second[] = {text("2")};
    ASSERT_TRUE(files.add(a, first));
    ASSERT_TRUE(files.add(b, second));
    ASSERT_TRUE(files.commit());
  }
  EXPECT_EQ(readText(a), "1");
  EXPECT_EQ(readText(b), "2");
  EXPECT_EQ(names(), 2);
}

/// A file with that header and so many bytes 0, 1, 2, ... of data.
std::string safe(std::string json, size_t bytes) {
  uint64_t size = json.size();
  std::string out(reinterpret_cast<const char *>(&size), 8);
  out += json;
  for (size_t i = 0; i < bytes; ++i)
    out += static_cast<char>(i);
  return out;
}

TEST(SafeTensors, ReadsTensors) {
  TempFolder temp;
  Result<SafeTensors> file = SafeTensors::open(
      temp.write("m.safetensors", safe(R"({"__metadata__":{"format":"pt"},
"b":{"dtype":"I8","shape":[2,2],"data_offsets":[8,12]},
"a":{"shape":[2],"data_offsets":[0,8],"dtype":"F32","more":[{"x":[1]},null]},
"empty":{"dtype":"BF16","shape":[0,7],"data_offsets":[12,12]},
"one":{"dtype":"F64","shape":[],"data_offsets":[12,20]}}   )",
                                       20)));
  ASSERT_TRUE(file) << file.error().render();
  ASSERT_EQ(file->entries().size(), 4u);
  EXPECT_EQ(file->entries()[0].name, "a");
  EXPECT_EQ(file->metadata()[0].second, "pt");
  Result<TensorView> a = file->view("a");
  ASSERT_TRUE(a) << a.error().render();
  EXPECT_EQ(a->shape, Shape({2}));
  EXPECT_EQ(std::memcmp(a->data, "\0\1\2\3\4\5\6\7", 8), 0);
  // The header's length leaves f32 unaligned in the file; views are aligned.
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a->data) % 4, 0u);
  EXPECT_EQ(file->view("a")->data, a->data);
  EXPECT_EQ(file->view("empty")->shape, Shape({0, 7}));
  Result<TensorView> b = file->bind("b", "w.codes", DType::I8, {2, 2});
  ASSERT_TRUE(b);
  EXPECT_EQ(b->name, "w.codes");
  EXPECT_EQ(static_cast<const char *>(b->data)[3], 11);

  Result<TensorView> wrong = file->bind("b", "w.codes", DType::U8, {2, 2});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "tensor 'b' is i8 [2, 2], but operand 'w.codes' is u8 [2, 2]");
  EXPECT_FALSE(file->bind("b", "w.codes", DType::I8, {4}));

  // Packed elements are read from bytes.
  for (int64_t columns : {3, 4}) {
    Result<TensorView> halves =
        file->bind("b", "w.codes", DType::U4, {2, columns});
    ASSERT_TRUE(halves) << halves.error().render();
    EXPECT_EQ(halves->dtype, DType::U4);
    EXPECT_EQ(halves->shape, Shape({2, columns}));
    EXPECT_EQ(halves->data, file->view("b")->data);
  }
  wrong = file->bind("b", "w.codes", DType::U4, {2, 2});
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message,
            "tensor 'b' is i8 [2, 2], but operand 'w.codes' is u4 [2, 2]");
  EXPECT_THAT(wrong.error().notes[0], HasSubstr("two to a byte"));
  EXPECT_FALSE(file->bind("a", "w.codes", DType::U4, {16}));
  Result<TensorView> none = file->view("model.b");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().render(), HasSubstr("it has 'b'"));
  Result<TensorView> f64 = file->view("one");
  ASSERT_FALSE(f64);
  EXPECT_THAT(f64.error().message, HasSubstr("type F64"));
}

TEST(SafeTensors, MalformedFilesAreRefused) {
  TempFolder temp;
  auto expect = [&](const std::string &text, const char *part) {
    Result<SafeTensors> file =
        SafeTensors::open(temp.write("m.safetensors", text));
    ASSERT_FALSE(file) << part;
    EXPECT_EQ(file.error().code, Errc::InvalidFile);
    EXPECT_THAT(file.error().render(), HasSubstr(part));
  };
  auto one = [](std::string dtype, std::string shape, std::string offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape +
           R"(,"data_offsets":)" + offsets + "}}";
  };
  std::string good = safe(one("F32", "[2]", "[0,8]"), 8);
  ASSERT_TRUE(SafeTensors::open(temp.write("m.safetensors", good)));
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(
        SafeTensors::open(temp.write("m.safetensors", good.substr(0, size))))
        << size;
  expect(safe(one("F32", "[2]", "[0,8]"), 9), "1 bytes of data belong to no");
  expect(std::string(8, '\xff') + "{}", "above 100000000");
  expect(std::string("\x10\0\0\0\0\0\0\0{}", 10), "truncated");
  expect(safe("", 0), "does not begin with '{'");
  expect(safe(" {}", 0), "does not begin with '{'");
  expect(safe("{}x", 0), "not valid JSON at byte 3");
  expect(safe("{\"a\"", 0), "not valid JSON");
  expect(safe("{\"\xff\":{}}", 0), "not valid JSON");
  expect(safe("{" + std::string(100000, '['), 0), "not valid JSON");
  expect(safe(R"({"a":1})", 0), "a number at 'a'");
  expect(safe(R"({"a":[]})", 0), "a list at 'a'");
  expect(safe(R"({"a":{}})", 0), "has no dtype");
  expect(safe(R"({"__metadata__":{"a":1}})", 0), "a number at 'a'");
  expect(safe(R"({"__metadata__":{"a":{}}})", 0), "an object at 'a'");
  expect(safe(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "'a' occurs twice");
  std::string tensor = R"("a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]})";
  expect(safe("{" + tensor + "," + tensor + "}", 1), "'a' occurs twice");
  expect(safe(R"({"a":{"dtype":"I8","dtype":"I8","shape":[1],)"
              R"("data_offsets":[0,1]}})",
              1),
         "'dtype' occurs twice");
  expect(safe(one("F31", "[2]", "[0,8]"), 8), "unknown type 'F31'");
  expect(safe(one("F32", "[-2]", "[0,8]"), 8), "a negative number");
  expect(safe(one("F32", "[2.0]", "[0,8]"), 8), "a fraction");
  expect(safe(one("F32", "[99999999999999999999]", "[0,8]"), 8), "a fraction");
  expect(safe(one("F32", "[18446744073709551615]", "[0,8]"), 8),
         "does not fit 64 bits");
  expect(safe(one("F32", "[\"2\"]", "[0,8]"), 8), "a text where 'shape'");
  expect(safe(one("F32", "[[2]]", "[0,8]"), 8), "a list");
  expect(safe(one("F32", "2", "[0,8]"), 8), "a number where 'shape'");
  expect(safe(one("F32", "[2]", "[0]"), 8), "not two numbers");
  expect(safe(one("F32", "[2]", "[0,8,8]"), 8), "not two numbers");
  expect(safe(one("F32", "[2]", "[8,0]"), 8), "not two numbers");
  expect(safe(one("F32", "[2]", "[0,8]"), 7), "ends at byte 8 of 7");
  expect(safe(one("F32", "[2]", "[4,12]"), 12), "begins at byte 4");
  expect(safe(one("F32", "[3]", "[0,8]"), 8), "has 8 bytes");
  expect(safe(one("F4", "[3]", "[0,1]"), 1), "has 1 bytes");
  expect(safe(one("F32", "[4611686018427387904,4]", "[0,0]"), 0),
         "has 0 bytes");
  auto two = [](std::string first, std::string second) {
    return R"({"a":{"dtype":"I8","shape":[4],"data_offsets":)" + first +
           R"(},"b":{"dtype":"I8","shape":[4],"data_offsets":)" + second + "}}";
  };
  expect(safe(two("[0,4]", "[3,7]"), 7), "'b' begins at byte 3 of the data, "
                                         "inside what ends at 4");
  expect(safe(two("[0,4]", "[0,4]"), 4), "inside");
  expect(safe(two("[0,4]", "[5,9]"), 9), "after a hole");
}

TEST(SafeTensors, RandomDamageNeverCrashes) {
  TempFolder temp;
  std::string good = safe(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"I8","shape":[2,2],"data_offsets":[8,12]}})",
      12);
  for (size_t at = 0; at < good.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = good;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      Result<SafeTensors> file =
          SafeTensors::open(temp.write("m.safetensors", damaged));
      if (file)
        for (const SafeTensors::Entry &entry : file->entries())
          if (Result<TensorView> view = file->view(entry.name)) {
            EXPECT_LE(*view->shape.elements(), 12);
          }
    }
}

} // namespace
