//===- Request.h - From command-line options to a compile -------*- C++ -*-===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#ifndef QUERN_TOOLS_QUERN_REQUEST_H
#define QUERN_TOOLS_QUERN_REQUEST_H

#include "compiler/pipelines/Compiler.h"
#include "compiler/tools/quern/Commands.h"

#include <memory>

namespace quern::tool {

/// A layer's text and what to compile it for. The request points into the
/// text; neither moves without the other.
struct LayerRequest {
  std::unique_ptr<std::string> source;
  CompileRequest compile;
};

/// Reads the file and fills the request every command starts from.
Result<LayerRequest> makeRequest(const LayerOptions &options);

} // namespace quern::tool

#endif // QUERN_TOOLS_QUERN_REQUEST_H
