//===- Cases.cpp - All families of the conformance set --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/conformance/Bench.h"

#include <iterator>

using namespace quern;

std::vector<conformance::Case> conformance::allCases() {
  std::vector<Case> all;
  for (auto family :
       {integerCases, floatCases, halfCases, convertCases, warpCases,
        atomicCases, copyCases, matrixLoadCases, matrixByteCases, mmaCases,
        scaledMmaCases, barrierCases, controlCases, clusterCases, bulkCases,
        tensorCases, wgmmaCases}) {
    std::vector<Case> cases = family();
    std::move(cases.begin(), cases.end(), std::back_inserter(all));
  }
  return all;
}
