//===- ScheduledProduct.cpp - A product and its entry in a record ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/Contract.h"

using namespace quern;
using namespace quern::cpugen;

/// The types of all that an operand is computed from: "i4+f16".
static std::string typesOf(tile::ContractOp op, mlir::Region &region) {
  std::string types;
  auto add = [&](mlir::Type type) {
    std::optional<DType> dtype = getDType(type);
    types += types.empty() ? "" : "+";
    types += name(dtype.value_or(DType::F32));
  };
  region.walk([&](tile::LoadOp load) {
    add(load.getBuffer().getType().getElementType());
  });
  if (types.empty())
    add(op.getElementType(region));
  return types;
}

static ProductKey keyOf(const ContractPlan &plan) {
  ProductKey key;
  switch (plan.kind) {
  case StepKind::Quads:
    key.kind = "quads";
    break;
  case StepKind::Pairs:
    key.kind = "pairs";
    break;
  case StepKind::Bf16Pairs:
    key.kind = "bf16pairs";
    break;
  case StepKind::Singles:
    key.kind = "singles";
    break;
  }
  key.left = typesOf(plan.op, plan.op.getLhsRegion(0));
  key.right = typesOf(plan.op, plan.op.getRhsRegion(0));
  key.n = constantOf(plan.n());
  key.k = constantOf(plan.k());
  key.split = plan.split;
  key.terms = plan.op.getNumTerms();
  key.widened = plan.widensPanels();
  return key;
}

ScheduledProduct quern::cpugen::scheduleProduct(const ContractPlan &plan,
                                                const Schedules *schedules,
                                                std::string &problem) {
  ScheduledProduct product;
  product.product = keyOf(plan);
  product.rows = tile::toSymExpr(plan.m());
  product.model = product.blocking = plan.blocking;
  if (!schedules)
    return product;
  auto entries = schedules->entriesFor(product.product, constantOf(plan.m()));
  if (entries.size() > 1)
    problem = fmt::format("lines {} and {} of the record of schedules are both "
                          "about its product, and one kernel runs all numbers "
                          "of rows; leave one of them out",
                          entries[0]->line, entries[1]->line);
  if (entries.size() != 1)
    return product;
  product.entry = entries.front()->line;
  product.blocking = entries.front()->blocking;
  return product;
}
