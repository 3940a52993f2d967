//===- CudaProgram.cpp - CUDA code, loaded through a driver table ---------===//
//
// Part of Quern, under the Apache License v2.0. See LICENSE.
//
//===----------------------------------------------------------------------===//

#include "runtime/device/cuda/CudaProgram.h"

#include "runtime/module/ModuleFormat.h"

#include <fmt/format.h>

#include <algorithm>

using namespace quern;
using namespace quern::cuda;

namespace {

/// Kernel parameters may take 4 KiB; all of ours are 8 bytes.
constexpr size_t maxParameters = 512;
/// Shared memory of a block, static and dynamic, that needs no permission.
constexpr int64_t freeSharedBytes = 48 * 1024;

DevicePtr toDevice(const void *address) {
  return reinterpret_cast<uintptr_t>(address);
}

class CudaProgram final : public Program {
public:
  explicit CudaProgram(std::shared_ptr<CudaDevice> device)
      : device(std::move(device)), driver(this->device->driver()) {}

  ~CudaProgram() override {
    if (module) {
      CudaDevice::Scope scope(*device);
      driver.moduleUnload(module);
    }
  }

  Result<void> load(const VariantDesc &variant) {
    CudaDevice::Scope scope(*device);
    if (auto ok = loadCode(variant); !ok)
      return ok;
    for (const KernelDesc &kernel : variant.kernels) {
      FunctionHandle function = nullptr;
      if (auto ok = device->check(
              driver.moduleGetFunction(&function, module, kernel.name.c_str()),
              fmt::format("find kernel '{}'", kernel.name));
          !ok)
        return ok;
      functions.push_back(function);
      names.push_back(kernel.name);
    }
    resident.assign(functions.size(), 0);
    for (const LaunchDesc &launch : variant.launches) {
      if (auto ok = allowShared(launch); !ok)
        return ok;
      if (auto ok = checkDependence(launch); !ok)
        return ok;
    }
    return {};
  }

  Result<void *> allocate(uint64_t bytes) override {
    CudaDevice::Scope scope(*device);
    DevicePtr address = 0;
    if (auto ok = device->check(driver.memAlloc(&address, bytes),
                                fmt::format("allocate {} bytes", bytes));
        !ok)
      return ok.error();
    return reinterpret_cast<void *>(static_cast<uintptr_t>(address));
  }
  void release(void *address) override {
    CudaDevice::Scope scope(*device);
    driver.memFree(toDevice(address));
  }
  bool usesHostMemory() const override { return false; }

  Result<void *> makeStream() override {
    CudaDevice::Scope scope(*device);
    StreamHandle stream = nullptr;
    if (auto ok = device->check(driver.streamCreate(&stream, streamNonBlocking),
                                "make a stream");
        !ok)
      return ok.error();
    return static_cast<void *>(stream);
  }
  void destroyStream(void *stream) override {
    CudaDevice::Scope scope(*device);
    driver.streamDestroy(static_cast<StreamHandle>(stream));
  }
  Result<void> synchronize(void *stream) override {
    CudaDevice::Scope scope(*device);
    return device->check(
        driver.streamSynchronize(static_cast<StreamHandle>(stream)),
        "finish what was enqueued");
  }

  Result<void> copyIn(void *to, const void *from, uint64_t bytes,
                      void *stream) override {
    if (bytes == 0)
      return {};
    CudaDevice::Scope scope(*device);
    return device->check(
        driver.memcpyHtoDAsync(toDevice(to), from, bytes,
                               static_cast<StreamHandle>(stream)),
        "copy to the device");
  }
  Result<void> copyOut(void *to, const void *from, uint64_t bytes,
                       void *stream) override {
    if (bytes == 0)
      return {};
    CudaDevice::Scope scope(*device);
    return device->check(
        driver.memcpyDtoHAsync(to, toDevice(from), bytes,
                               static_cast<StreamHandle>(stream)),
        "copy from the device");
  }
  Result<void> copyWithin(void *to, const void *from, uint64_t bytes,
                          void *stream) override {
    if (bytes == 0)
      return {};
    CudaDevice::Scope scope(*device);
    return device->check(
        driver.memcpyDtoDAsync(toDevice(to), toDevice(from), bytes,
                               static_cast<StreamHandle>(stream)),
        "copy on the device");
  }

  Result<void> zero(void *at, uint64_t bytes, void *stream) override {
    if (bytes == 0)
      return {};
    CudaDevice::Scope scope(*device);
    return device->check(
        driver.memsetD8Async(toDevice(at), 0, bytes,
                             static_cast<StreamHandle>(stream)),
        "clear memory on the device");
  }

  unsigned workers() const override { return 1; }

  Result<void> launch(const LaunchCall &call, void *stream) override {
    const auto &grid = call.sizes->grid;
    if (std::ranges::any_of(grid, [](int64_t g) { return g <= 0; }))
      return {};
    const std::string &name = names[call.launch->kernel];
    constexpr int64_t limits[3] = {INT32_MAX, 65535, 65535};
    for (int d = 0; d < 3; ++d)
      if (grid[d] > limits[d])
        return fail(Errc::InvalidArgument,
                    fmt::format("kernel '{}' needs {} blocks in dimension {} "
                                "of its grid; the device takes {}",
                                name, grid[d], d, limits[d]));
    int64_t shared = call.sizes->dynamicSharedBytes;
    if (shared < 0 || shared > device->maxSharedBytes())
      return fail(Errc::Unsupported,
                  fmt::format("kernel '{}' needs {} bytes of shared memory per "
                              "block; the device has {}",
                              name, shared, device->maxSharedBytes()));
    // The driver reads each parameter through a pointer, and copies it before
    // it returns.
    void *parameters[maxParameters];
    size_t count = 0;
    for (size_t i = 0; i < call.launch->buffers.size(); ++i)
      parameters[count++] = const_cast<void **>(call.buffers + i);
    for (const int64_t &symbol : call.symbols)
      parameters[count++] = const_cast<int64_t *>(&symbol);

    const auto &block = call.launch->block;
    LaunchConfig config = {};
    config.gridDimX = static_cast<unsigned>(grid[0]);
    config.gridDimY = static_cast<unsigned>(grid[1]);
    config.gridDimZ = static_cast<unsigned>(grid[2]);
    config.blockDimX = block[0];
    config.blockDimY = block[1];
    config.blockDimZ = block[2];
    config.sharedMemBytes = static_cast<unsigned>(shared);
    config.stream = static_cast<StreamHandle>(stream);
    CudaDevice::Scope scope(*device);
    LaunchAttribute attribute = {};
    config.attributes = &attribute;
    if (call.launch->kind != LaunchKind::Independent) {
      Result<int64_t> held = residentBlocks(*call.launch, shared);
      if (!held)
        return held.error();
      if (auto ok =
              checkResident(*call.launch, call.sizes->residentBlocks, *held);
          !ok)
        return ok;
      config.gridDimX =
          static_cast<unsigned>(std::min(grid[0], std::max(*held, int64_t(1))));
      if (call.launch->kind == LaunchKind::Cooperative) {
        attribute.id = LaunchAttribute::Cooperative;
        attribute.value.cooperative = 1;
        config.attributeCount = 1;
      }
    } else if (call.launch->cluster > 1) {
      attribute.id = LaunchAttribute::ClusterDimension;
      attribute.value.clusterDim = {call.launch->cluster, 1, 1};
      config.attributeCount = 1;
    }
    DriverStatus code = driver.launchKernelEx(
        &config, functions[call.launch->kernel], parameters, nullptr);
    if (code == status::Success)
      return {};
    return device->check(code, fmt::format("launch kernel '{}'", name));
  }

private:
  Result<void> loadCode(const VariantDesc &variant) {
    std::optional<Diagnostic> last;
    for (CodeKind kind : {CodeKind::Cubin, CodeKind::Ptx})
      for (const CodeDesc &code : variant.code) {
        if (code.kind != kind)
          continue;
        if (module)
          return fail(Errc::Unsupported,
                      "a variant with several CUDA modules is not supported");
        Result<void> loaded = loadObject(code);
        if (loaded)
          return {};
        last = loaded.error();
      }
    if (last)
      return *last;
    return fail(Errc::Unsupported,
                fmt::format("the code for {} has neither cubin nor PTX",
                            variant.target));
  }

  Result<void> loadObject(const CodeDesc &code) {
    // PTX is text and must end in a zero; a cubin does not mind one.
    std::vector<std::byte> image = code.bytes;
    image.push_back(std::byte{0});
    char log[4096] = {};
    JitOption options[] = {jit_option::ErrorLogBuffer,
                           jit_option::ErrorLogBufferSizeBytes};
    void *values[] = {log, reinterpret_cast<void *>(sizeof(log) - 1)};
    DriverStatus code1 =
        driver.moduleLoadDataEx(&module, image.data(), 2, options, values);
    if (code1 == status::Success)
      return {};
    module = nullptr;
    Diagnostic diagnostic =
        device
            ->check(code1,
                    fmt::format("load the {} on {} (sm_{})",
                                code.kind == CodeKind::Cubin ? "cubin" : "PTX",
                                device->name(), device->capability()))
            .error();
    if (log[0])
      diagnostic.notes.push_back(log);
    return diagnostic;
  }

  /// Raises the kernel's limit of dynamic shared memory where a launch may
  /// need it.
  Result<void> allowShared(const LaunchDesc &launch) {
    if (launch.buffers.size() > maxParameters - format::maxSymbols)
      return fail(Errc::Unsupported, "a kernel with too many parameters");
    Result<int64_t> bytes = launch.dynamicSharedBytes.evaluate({});
    if (bytes && *bytes == 0)
      return {};
    FunctionHandle function = functions[launch.kernel];
    int fixed = 0;
    if (auto ok = device->check(
            driver.funcGetAttribute(&fixed, function_attribute::SharedSizeBytes,
                                    function),
            "ask for a kernel's shared memory");
        !ok)
      return ok;
    if (bytes && *bytes + fixed <= freeSharedBytes)
      return {};
    int most = device->maxSharedBytes() - fixed;
    if (bytes && *bytes > most)
      return fail(Errc::Unsupported,
                  fmt::format("kernel '{}' needs {} bytes of shared memory per "
                              "block; the device has {}",
                              names[launch.kernel], *bytes + fixed,
                              device->maxSharedBytes()));
    // All there is: another launch of the kernel may need more than this one.
    return device->check(
        driver.funcSetAttribute(
            function, function_attribute::MaxDynamicSharedSizeBytes, most),
        "raise a kernel's shared memory");
  }

  /// Blocks of a launch that the device holds at once.
  Result<int64_t> residentBlocks(const LaunchDesc &launch, int64_t shared) {
    int64_t known = resident[launch.kernel];
    if (known > 0 && launch.dynamicSharedBytes.isConstant())
      return known;
    const auto &block = launch.block;
    int blocks = 0;
    if (auto ok =
            device->check(driver.occupancyMaxActiveBlocksPerMultiprocessor(
                              &blocks, functions[launch.kernel],
                              static_cast<int>(block[0] * block[1] * block[2]),
                              static_cast<size_t>(shared)),
                          "ask how many blocks a multiprocessor holds");
        !ok)
      return ok.error();
    return int64_t(blocks) * device->multiprocessors();
  }

  Result<void> checkResident(const LaunchDesc &launch, int64_t needed,
                             int64_t held) const {
    if (launch.kind != LaunchKind::Cooperative || needed <= held)
      return {};
    return fail(
        Errc::Unsupported,
        fmt::format("kernel '{}' needs {} blocks that wait for each other; {} "
                    "holds {} at once",
                    names[launch.kernel], needed, device->name(), held),
        {"compile the layer with another placement of its scales "
         "(--placement=panel)"});
  }

  /// Whether the device can run blocks that depend on each other; as far as
  /// sizes are known, before anything runs.
  Result<void> checkDependence(const LaunchDesc &launch) {
    if (launch.isPlain())
      return {};
    const std::string &name = names[launch.kernel];
    if (launch.cluster > 1 && !device->hasClusters())
      return fail(Errc::Unsupported,
                  fmt::format("kernel '{}' needs clusters, which {} has not",
                              name, device->name()));
    if (launch.kind == LaunchKind::Independent)
      return {};
    if (launch.kind == LaunchKind::Cooperative && !device->isCooperative())
      return fail(
          Errc::Unsupported,
          fmt::format("kernel '{}' needs cooperative launches, which {} "
                      "has not",
                      name, device->name()));
    Result<int64_t> shared = launch.dynamicSharedBytes.evaluate({});
    if (!shared)
      return {};
    Result<int64_t> held = residentBlocks(launch, *shared);
    if (!held)
      return held.error();
    resident[launch.kernel] = *held;
    Result<int64_t> needed = launch.residentBlocks.evaluate({});
    return needed ? checkResident(launch, *needed, *held) : Result<void>();
  }

  std::shared_ptr<CudaDevice> device;
  const DriverTable &driver;
  std::vector<int64_t> resident; ///< Of each kernel, once known.
  ModuleHandle module = nullptr;
  std::vector<FunctionHandle> functions;
  std::vector<std::string> names;
};

} // namespace

Result<std::shared_ptr<Program>>
cuda::loadProgram(const VariantDesc &variant,
                  std::shared_ptr<CudaDevice> device) {
  auto program = std::make_shared<CudaProgram>(std::move(device));
  if (Result<void> ok = program->load(variant); !ok)
    return ok.error();
  return std::shared_ptr<Program>(std::move(program));
}
