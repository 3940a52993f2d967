//===- runtime.cpp - The shared library's own source ----------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//
//
// CMake wants one; the library consists of the runtime's parts.
//
//===----------------------------------------------------------------------===//
