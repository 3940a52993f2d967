//===- Request.cpp - From command-line options to a compile ---------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/tools/quern/Request.h"

using namespace quern;
using namespace quern::tool;

Result<LayerRequest> quern::tool::makeRequest(const LayerOptions &options) {
  auto source = readTextFile(options.file);
  if (!source)
    return source.error();
  auto target = Target::parse(options.target);
  if (!target)
    return target.error();
  LayerRequest request;
  request.source = std::make_unique<std::string>(std::move(*source));
  request.compile.source = *request.source;
  request.compile.name = options.file;
  request.compile.target = *target;
  request.compile.settings = {"fuse=" + options.fuse,
                              "numerics=" + options.numerics};
  if (!options.layer.empty())
    request.compile.settings.push_back("layer=" + options.layer);
  return request;
}
