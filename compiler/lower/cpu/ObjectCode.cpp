//===- ObjectCode.cpp - From LLVM IR to an object file --------------------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "compiler/lower/cpu/ObjectCode.h"

#include "llvm/Analysis/AliasAnalysis.h"
#include "llvm/Analysis/ScopedNoAliasAA.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/PassManager.h"
#include "llvm/IR/Verifier.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Transforms/InstCombine/InstCombine.h"
#include "llvm/Transforms/Scalar/EarlyCSE.h"
#include "llvm/Transforms/Scalar/LICM.h"
#include "llvm/Transforms/Scalar/LoopPassManager.h"
#include "llvm/Transforms/Scalar/SimpleLoopUnswitch.h"
#include "llvm/Transforms/Scalar/SimplifyCFG.h"
#include "llvm/Transforms/Utils/LoopSimplify.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>

using namespace quern;
using namespace quern::cpugen;

Result<std::unique_ptr<llvm::TargetMachine>>
quern::cpugen::createTargetMachine(const CpuTarget &target) {
  llvm::Triple triple(target.triple);
  bool isX86 = triple.getArch() == llvm::Triple::x86_64;
  bool isAArch64 = triple.getArch() == llvm::Triple::aarch64;
  if ((!isX86 && !isAArch64) || !triple.isOSBinFormatELF())
    return fail(Errc::Unsupported,
                fmt::format("no CPU code generator for '{}'", target.triple),
                {"supported: x86_64 and aarch64 with ELF objects"});
  static std::once_flag onceX86, onceAArch64;
  if (isX86)
    std::call_once(onceX86, [] {
      LLVMInitializeX86TargetInfo();
      LLVMInitializeX86Target();
      LLVMInitializeX86TargetMC();
      LLVMInitializeX86AsmPrinter();
    });
  else
    std::call_once(onceAArch64, [] {
      LLVMInitializeAArch64TargetInfo();
      LLVMInitializeAArch64Target();
      LLVMInitializeAArch64TargetMC();
      LLVMInitializeAArch64AsmPrinter();
    });
  std::string error;
  const llvm::Target *llvmTarget =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!llvmTarget)
    return fail(Errc::Internal,
                fmt::format("LLVM has no target {}: {}", target.triple, error));
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  // Everything goes into one text section: calls between functions are
  // resolved by the assembler.
  options.FunctionSections = false;
  std::string features;
  for (const std::string &feature : target.features)
    features += (features.empty() ? "+" : ",+") + feature;
  std::unique_ptr<llvm::TargetMachine> machine(llvmTarget->createTargetMachine(
      triple, target.cpu, features, options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
  if (!machine)
    return fail(Errc::Internal,
                "LLVM made no target machine for " + target.triple);
  return machine;
}

/// The one lane a constant mask switches on, if it is one.
static std::optional<unsigned> onlyLane(llvm::Value *mask) {
  auto *constant = llvm::dyn_cast<llvm::Constant>(mask);
  if (!constant)
    return std::nullopt;
  std::optional<unsigned> only;
  unsigned lanes =
      llvm::cast<llvm::FixedVectorType>(mask->getType())->getNumElements();
  for (unsigned lane = 0; lane < lanes; ++lane) {
    llvm::Constant *bit = constant->getAggregateElement(lane);
    if (bit && bit->isNullValue())
      continue;
    if (!bit || !bit->isOneValue() || only)
      return std::nullopt;
    only = lane;
  }
  return only;
}

/// Turns masked stores of a single known lane into scalar stores. LLVM 22 does
/// it too, but after it has merged a narrowing of the lanes into the store,
/// and then writes the wide lane: four bytes where one or two were asked for.
static void storeSingleLanes(llvm::Function &function) {
  for (llvm::BasicBlock &block : function)
    for (llvm::Instruction &instruction : llvm::make_early_inc_range(block)) {
      auto *call = llvm::dyn_cast<llvm::IntrinsicInst>(&instruction);
      if (!call || call->getIntrinsicID() != llvm::Intrinsic::masked_store)
        continue;
      // The mask is the last argument, the address the second.
      std::optional<unsigned> lane =
          onlyLane(call->getArgOperand(call->arg_size() - 1));
      if (!lane)
        continue;
      llvm::IRBuilder<> b(call);
      llvm::Value *element =
          b.CreateExtractElement(call->getArgOperand(0), uint64_t(*lane));
      llvm::Value *address = b.CreateConstGEP1_32(
          element->getType(), call->getArgOperand(1), *lane);
      llvm::StoreInst *store =
          b.CreateAlignedStore(element, address, llvm::Align(1));
      store->copyMetadata(*call);
      call->eraseFromParent();
    }
}

void quern::cpugen::optimize(llvm::Module &module) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder;
  functions.registerPass([] {
    llvm::AAManager manager;
    manager.registerFunctionAnalysis<llvm::ScopedNoAliasAA>();
    return manager;
  });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass());
  passes.addPass(llvm::InstCombinePass());
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(
      llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true));
  // Loops that ask in every turn whether a scale is an ordinary one become two
  // loops.
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(
      llvm::SimpleLoopUnswitchPass(/*NonTrivial=*/true)));
  passes.addPass(llvm::SimplifyCFGPass());
  for (llvm::Function &function : module)
    if (!function.isDeclaration()) {
      passes.run(function, functions);
      storeSingleLanes(function);
    }
}

Result<llvm::SmallVector<char, 0>>
quern::cpugen::emitFile(llvm::Module &module, llvm::TargetMachine &machine,
                        bool assembly) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr,
                                  assembly ? llvm::CodeGenFileType::AssemblyFile
                                           : llvm::CodeGenFileType::ObjectFile,
                                  /*DisableVerify=*/true))
    return fail(Errc::Internal, "LLVM cannot emit files for " +
                                    machine.getTargetTriple().str());
  passes.run(module);
  return bytes;
}
