//===- KernelHarness.cpp - Compiled tile modules on the simulator ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "tests/kernels/KernelHarness.h"

#include "compiler/emit/cuda/CudaCompiler.h"
#include "dialects/tile/IR/Tile.h"
#include "runtime/device/cuda/Nvrtc.h"
#include "runtime/device/sim/SimDevice.h"

#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <fmt/format.h>

using namespace quern;
using namespace quern::test;

bool test::hasNvrtc(std::string &why) {
  auto library = cuda::Nvrtc::get();
  if (library)
    return true;
  why = library.error().message;
  return false;
}

bool test::editPtx(VariantDesc &variant, const std::string &from,
                   const std::string &to) {
  for (CodeDesc &code : variant.code) {
    if (code.kind != CodeKind::Ptx)
      continue;
    std::string text(reinterpret_cast<const char *>(code.bytes.data()),
                     code.bytes.size());
    size_t at = text.find(from);
    if (at == std::string::npos)
      return false;
    text.replace(at, from.size(), to);
    code.bytes.resize(text.size());
    std::memcpy(code.bytes.data(), text.data(), text.size());
    return true;
  }
  return false;
}

Result<VariantDesc> test::compileTile(const std::string &text,
                                      const std::string &arch) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<tile::TileDialect>();
  std::string errors;
  mlir::ScopedDiagnosticHandler handler(&context,
                                        [&](mlir::Diagnostic &diagnostic) {
                                          errors += diagnostic.str() + "\n";
                                          return mlir::success();
                                        });
  auto module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module)
    return fail(Errc::InvalidSource, errors, {text});
  auto target = emit::CudaTarget::parse(arch);
  if (!target)
    return target.error();
  emit::CudaOptions options;
  options.lineInfo = true;
  return emit::compileForCuda(*module, *target, options);
}

namespace {

/// Device memory of one run, freed at its end.
class DeviceRun {
public:
  DeviceRun(const cuda::DriverTable &driver, sim::SimDevice &device)
      : driver(driver), device(device) {}
  ~DeviceRun() {
    for (cuda::DevicePtr address : addresses)
      driver.memFree(address);
    if (module)
      driver.moduleUnload(module);
  }

  Result<void> check(cuda::DriverStatus status, const char *what) {
    if (status == cuda::status::Success)
      return {};
    std::vector<std::string> notes;
    for (const Diagnostic &report : device.lastReports())
      notes.push_back(report.render());
    return fail(Errc::CheckFailed, fmt::format("{}: status {}", what, status),
                notes);
  }

  const cuda::DriverTable &driver;
  sim::SimDevice &device;
  cuda::ModuleHandle module = nullptr;
  std::vector<cuda::DevicePtr> addresses;
};

} // namespace

static std::string keyOf(const BufferDesc &buffer) {
  return buffer.part == "values" ? buffer.name
                                 : buffer.name + "_" + buffer.part;
}

static void add(sim::Counters &total, const sim::Counters &of) {
  total.threadInstructions += of.threadInstructions;
  total.warpInstructions += of.warpInstructions;
  for (size_t i = 0; i < of.byClass.size(); ++i)
    total.byClass[i] += of.byClass[i];
  total.globalBytesRead += of.globalBytesRead;
  total.globalBytesWritten += of.globalBytesWritten;
  total.globalUniqueBytesRead += of.globalUniqueBytesRead;
  total.globalUniqueBytesWritten += of.globalUniqueBytesWritten;
  total.globalRequests += of.globalRequests;
  total.globalSectors += of.globalSectors;
  total.sharedRequests += of.sharedRequests;
  total.sharedBankConflicts += of.sharedBankConflicts;
  total.barriers += of.barriers;
  total.blocks += of.blocks;
}

Result<void> test::runOnSimulator(const VariantDesc &variant,
                                  const std::vector<int64_t> &symbols,
                                  Buffers &buffers, uint64_t seed,
                                  sim::Counters *counters, unsigned maxBlocks) {
  std::string arch = variant.target.substr(variant.target.find(':') + 1);
  auto simTarget = sim::parseSimTarget(arch);
  if (!simTarget)
    return fail(Errc::InvalidArgument, "no simulated " + arch);
  DeviceRun run(sim::simulatedDriver(*simTarget),
                sim::SimDevice::get(*simTarget));
  sim::SimOptions options;
  options.seed = seed;
  run.device.setOptions(options);
#define CHECK_DRIVER(call, what)                                               \
  if (Result<void> done = run.check(run.driver.call, what); !done)             \
  return done

  CHECK_DRIVER(init(0), "cuInit");
  cuda::ContextHandle context = nullptr;
  CHECK_DRIVER(devicePrimaryCtxRetain(&context, 0), "retaining the context");
  CHECK_DRIVER(ctxSetCurrent(context), "making the context current");
  const CodeDesc *ptx = nullptr;
  for (const CodeDesc &code : variant.code)
    if (code.kind == CodeKind::Ptx)
      ptx = &code;
  std::string text(reinterpret_cast<const char *>(ptx->bytes.data()),
                   ptx->bytes.size());
  CHECK_DRIVER(moduleLoadDataEx(&run.module, text.c_str(), 0, nullptr, nullptr),
               "loading the PTX");

  std::vector<size_t> sizes;
  for (const BufferDesc &buffer : variant.buffers) {
    // Rows begin at bytes.
    int64_t elements = 1, rows = 1;
    for (const SymExpr &extent : buffer.shape) {
      rows *= elements;
      elements = *extent.evaluate(symbols);
    }
    int64_t bytes = rows * static_cast<int64_t>(rowBytes(
                               buffer.dtype, static_cast<uint64_t>(elements)));
    std::vector<std::byte> &host = buffers.contents[keyOf(buffer)];
    bool given =
        buffer.role == BufferRole::Input || buffer.role == BufferRole::Weight;
    if (given && host.size() != static_cast<size_t>(bytes))
      return fail(Errc::InvalidArgument,
                  fmt::format("buffer {} holds {} bytes, not {}", keyOf(buffer),
                              host.size(), bytes));
    if (!given)
      host.assign(bytes, std::byte(0xcd));
    cuda::DevicePtr address = 0;
    CHECK_DRIVER(memAlloc(&address, std::max<int64_t>(bytes, 1)), "memAlloc");
    run.addresses.push_back(address);
    if (buffer.role == BufferRole::State)
      CHECK_DRIVER(memsetD8Async(address, 0, bytes, nullptr), "clearing state");
    if (given && bytes)
      CHECK_DRIVER(memcpyHtoDAsync(address, host.data(), bytes, nullptr),
                   "copying in");
    run.device.describe(address, keyOf(buffer), given);
    sizes.push_back(bytes);
  }

  sim::Counters total;
  for (LaunchPhase phase : {LaunchPhase::Prepare, LaunchPhase::Run})
    for (const LaunchDesc &launch : variant.launches) {
      if (launch.phase != phase || !launch.happens(symbols))
        continue;
      const KernelDesc &kernel = variant.kernels[launch.kernel];
      cuda::LaunchConfig config{};
      unsigned *grid[] = {&config.gridDimX, &config.gridDimY, &config.gridDimZ};
      bool empty = false;
      for (int i = 0; i < 3; ++i) {
        Result<int64_t> extent = launch.grid[i].evaluate(symbols);
        if (!extent)
          return extent.error();
        *grid[i] = static_cast<unsigned>(*extent);
        empty |= *extent == 0;
      }
      if (empty)
        continue;
      config.blockDimX = launch.block[0];
      config.blockDimY = launch.block[1];
      config.blockDimZ = launch.block[2];
      config.sharedMemBytes =
          static_cast<unsigned>(*launch.dynamicSharedBytes.evaluate(symbols));
      cuda::FunctionHandle function = nullptr;
      CHECK_DRIVER(
          moduleGetFunction(&function, run.module, kernel.name.c_str()),
          "finding the kernel");
      if (config.sharedMemBytes + kernel.staticSharedBytes > 48 * 1024)
        CHECK_DRIVER(funcSetAttribute(
                         function,
                         cuda::function_attribute::MaxDynamicSharedSizeBytes,
                         static_cast<int>(config.sharedMemBytes +
                                          kernel.staticSharedBytes)),
                     "allowing shared memory");
      cuda::LaunchAttribute attribute = {};
      config.attributes = &attribute;
      if (launch.cluster > 1) {
        attribute.id = cuda::LaunchAttribute::ClusterDimension;
        attribute.value.clusterDim = {launch.cluster, 1, 1};
        config.attributeCount = 1;
      } else if (launch.kind != LaunchKind::Independent) {
        // Persistent kernels run together, too, to meet every order of blocks.
        int blocks = 0, processors = 0;
        CHECK_DRIVER(occupancyMaxActiveBlocksPerMultiprocessor(
                         &blocks, function, static_cast<int>(config.blockDimX),
                         config.sharedMemBytes),
                     "asking for the occupancy");
        CHECK_DRIVER(
            deviceGetAttribute(&processors,
                               cuda::device_attribute::MultiprocessorCount, 0),
            "asking for multiprocessors");
        unsigned most = static_cast<unsigned>(blocks * processors);
        if (maxBlocks)
          most = std::min(most, maxBlocks);
        config.gridDimX = std::min(config.gridDimX, most);
        attribute.id = cuda::LaunchAttribute::Cooperative;
        attribute.value.cooperative = 1;
        config.attributeCount = 1;
      }
      std::vector<uint64_t> values;
      for (uint32_t buffer : launch.buffers)
        values.push_back(run.addresses[buffer]);
      for (int64_t symbol : symbols)
        values.push_back(static_cast<uint64_t>(symbol));
      std::vector<void *> parameters;
      for (uint64_t &value : values)
        parameters.push_back(&value);
      CHECK_DRIVER(
          launchKernelEx(&config, function, parameters.data(), nullptr),
          kernel.name.c_str());
      if (run.device.lastFaultCount() != 0)
        return run.check(cuda::status::LaunchFailed, kernel.name.c_str());
      if (phase == LaunchPhase::Run)
        add(total, run.device.lastCounters());
    }

  if (counters)
    *counters = total;
  for (size_t i = 0; i < variant.buffers.size(); ++i)
    if (sizes[i] && variant.buffers[i].role == BufferRole::Output)
      CHECK_DRIVER(
          memcpyDtoHAsync(buffers.contents[keyOf(variant.buffers[i])].data(),
                          run.addresses[i], sizes[i], nullptr),
          "copying out");
#undef CHECK_DRIVER
  return {};
}
