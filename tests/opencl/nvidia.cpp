/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes the devices of the real driver look like NVIDIA's: they say that they have compute capability 9.0, and take PTX
 * as program binaries. Such a program's kernel is not read but known by its name, and the emulator runs it on the
 * buffers' memory. tests/opencl/faulty.c calls these functions in place of the driver's.
 *
 * SKV_FAKE_NVIDIA says what goes wrong: "refused" (programs are), "unbuilt", "unlaunched", "wrong" (kernels do
 * nothing), of kernels whose names hold what follows a colon; "old" devices have compute capability 8.0.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "backends/opencl/nvidia/params.h"
#include "tests/gpu/emulator.h"

extern "C" void skv_fake_find(const char *name, void **function);

#define REAL(name)               \
    decltype(&name) real_##name; \
    skv_fake_find(#name, (void **)&real_##name)

namespace
{

struct program {
    std::string kernel;
};

struct kernel {
    const emulator::kernel *code;
    std::vector<std::vector<unsigned char>> arguments;
};

std::mutex mutex;
std::set<const void *> programs, kernels; /* those of ours that are alive */

bool is_wrong(const char *kind, const std::string &kernel)
{
    const char *text = getenv("SKV_FAKE_NVIDIA");
    size_t n = strlen(kind);
    if (!text || strncmp(text, kind, n) != 0)
        return false;
    return text[n] == 0 || (text[n] == ':' && kernel.find(text + n + 1) != std::string::npos);
}

/* The name behind the last "skv_kernel_" of a text, or "". */
std::string kernel_of(const std::string &text)
{
    size_t at = text.rfind("skv_kernel_");
    bool is_ptx = text.compare(0, 8, ".version") == 0 || text.compare(0, 9, "// no PTX") == 0;
    if (!is_ptx || at == std::string::npos)
        return "";
    return text.substr(at, text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", at) - at);
}

cl_int CL_API_CALL get_device_info(cl_device_id id, cl_device_info what, size_t n, void *value, size_t *used)
{
    if (what == 0x4000 && n >= sizeof(cl_uint)) {
        *(cl_uint *)value = is_wrong("old", "") ? 8 : 9;
        return CL_SUCCESS;
    }
    const char *version = getenv("SKV_FAKE_DRIVER_VERSION");
    if (what == CL_DRIVER_VERSION && version && n > strlen(version)) {
        strcpy((char *)value, version);
        return CL_SUCCESS;
    }
    REAL(clGetDeviceInfo);
    return real_clGetDeviceInfo(id, what, n, value, used);
}

cl_program CL_API_CALL create_program(cl_context context, cl_uint n, const cl_device_id *ids, const size_t *lengths,
                                      const unsigned char **binaries, cl_int *states, cl_int *code)
{
    std::string name = kernel_of(std::string((const char *)binaries[0], lengths[0]));
    if (name.empty()) {
        REAL(clCreateProgramWithBinary);
        return real_clCreateProgramWithBinary(context, n, ids, lengths, binaries, states, code);
    }
    std::lock_guard<std::mutex> lock(mutex);
    *code = is_wrong("refused", name) ? CL_INVALID_BINARY : CL_SUCCESS;
    if (*code)
        return nullptr;
    program *made = new program{name};
    programs.insert(made);
    return (cl_program)(void *)made;
}

const program *ours(cl_program p)
{
    std::lock_guard<std::mutex> lock(mutex);
    return programs.count(p) ? (const program *)(void *)p : nullptr;
}

kernel *ours(cl_kernel k)
{
    std::lock_guard<std::mutex> lock(mutex);
    return kernels.count(k) ? (kernel *)(void *)k : nullptr;
}

cl_int CL_API_CALL build_program(cl_program p, cl_uint n, const cl_device_id *ids, const char *options,
                                 void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    if (const program *own = ours(p))
        return is_wrong("unbuilt", own->kernel) ? CL_BUILD_PROGRAM_FAILURE : CL_SUCCESS;
    REAL(clBuildProgram);
    return real_clBuildProgram(p, n, ids, options, notify, user);
}

cl_int CL_API_CALL get_build_info(cl_program p, cl_device_id id, cl_program_build_info what, size_t n, void *value,
                                  size_t *used)
{
    const char log[] = "ptxas fatal : as the test wishes";
    if (!ours(p)) {
        REAL(clGetProgramBuildInfo);
        return real_clGetProgramBuildInfo(p, id, what, n, value, used);
    }
    if (used)
        *used = sizeof log;
    if (value && n >= sizeof log)
        memcpy(value, log, sizeof log);
    return CL_SUCCESS;
}

cl_int CL_API_CALL release_program(cl_program p)
{
    if (const program *own = ours(p)) {
        std::lock_guard<std::mutex> lock(mutex);
        programs.erase(own);
        delete own;
        return CL_SUCCESS;
    }
    REAL(clReleaseProgram);
    return real_clReleaseProgram(p);
}

cl_kernel CL_API_CALL create_kernel(cl_program p, const char *name, cl_int *code)
{
    const program *own = ours(p);
    if (!own) {
        REAL(clCreateKernel);
        return real_clCreateKernel(p, name, code);
    }
    const emulator::kernel *found = own->kernel == name ? emulator::find_kernel(name) : nullptr;
    *code = found ? CL_SUCCESS : CL_INVALID_KERNEL_NAME;
    if (!found)
        return nullptr;
    kernel *made = new kernel{found, {}};
    made->arguments.resize(found->n_params);
    std::lock_guard<std::mutex> lock(mutex);
    kernels.insert(made);
    return (cl_kernel)(void *)made;
}

cl_int CL_API_CALL release_kernel(cl_kernel k)
{
    if (kernel *own = ours(k)) {
        std::lock_guard<std::mutex> lock(mutex);
        kernels.erase(own);
        delete own;
        return CL_SUCCESS;
    }
    REAL(clReleaseKernel);
    return real_clReleaseKernel(k);
}

cl_int CL_API_CALL set_argument(cl_kernel k, cl_uint i, size_t n, const void *value)
{
    kernel *own = ours(k);
    if (!own) {
        REAL(clSetKernelArg);
        return real_clSetKernelArg(k, i, n, value);
    }
    if (i >= own->arguments.size())
        return CL_INVALID_ARG_INDEX;
    if (n != own->code->param_bytes[i] || !value)
        return CL_INVALID_ARG_SIZE;
    own->arguments[i].assign((const unsigned char *)value, (const unsigned char *)value + n);
    return CL_SUCCESS;
}

/* Buffers are the arguments of 8 bytes: their memory takes the handle's place. */
cl_int map_buffers(cl_command_queue queue, kernel *own, std::vector<std::vector<unsigned char>> *arguments,
                   std::map<cl_mem, void *> *mapped)
{
    REAL(clEnqueueMapBuffer);
    REAL(clGetMemObjectInfo);
    for (size_t i = 0; i < arguments->size(); i++) {
        if (own->arguments[i].empty())
            return CL_INVALID_KERNEL_ARGS;
        if (own->code->param_bytes[i] != sizeof(cl_mem))
            continue;
        cl_mem memory;
        memcpy(&memory, own->arguments[i].data(), sizeof memory);
        void *&at = (*mapped)[memory];
        size_t n_bytes = 0;
        cl_int code = real_clGetMemObjectInfo(memory, CL_MEM_SIZE, sizeof n_bytes, &n_bytes, nullptr);
        if (!code && !at)
            at = real_clEnqueueMapBuffer(queue, memory, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, n_bytes, 0, nullptr,
                                         nullptr, &code);
        if (code)
            return code;
        memcpy((*arguments)[i].data(), &at, sizeof at);
    }
    return CL_SUCCESS;
}

cl_int run(cl_command_queue queue, kernel *own, const size_t *global, const size_t *local)
{
    REAL(clFinish);
    REAL(clEnqueueUnmapMemObject);
    std::map<cl_mem, void *> mapped;
    std::vector<std::vector<unsigned char>> arguments = own->arguments;
    cl_int code = map_buffers(queue, own, &arguments, &mapped);
    if (!code && !is_wrong("wrong", own->code->name)) {
        std::vector<void *> at;
        for (auto &argument : arguments)
            at.push_back(argument.data());
        std::lock_guard<std::mutex> lock(mutex);
        emulator::run({own->code->name,
                       own->code->run,
                       at.data(),
                       {(unsigned)(global[0] / local[0]), (unsigned)global[1], (unsigned)global[2]},
                       {(unsigned)local[0], 1, 1},
                       SKV_NVIDIA_SCRATCH_BYTES,
                       32});
    }
    for (auto &entry : mapped)
        if (entry.second)
            real_clEnqueueUnmapMemObject(queue, entry.first, entry.second, 0, nullptr, nullptr);
    cl_int finished = real_clFinish(queue);
    return code ? code : finished;
}

cl_int CL_API_CALL enqueue_kernel(cl_command_queue queue, cl_kernel k, cl_uint n, const size_t *offset,
                                  const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
                                  cl_event *event)
{
    kernel *own = ours(k);
    if (!own) {
        REAL(clEnqueueNDRangeKernel);
        return real_clEnqueueNDRangeKernel(queue, k, n, offset, global, local, n_wait, wait, event);
    }
    bool fits = local[0] == own->code->lanes || (own->code->takes_fewer && local[0] < own->code->lanes);
    if (n != 3 || local[1] != 1 || local[2] != 1 || !fits || global[0] % local[0])
        return CL_INVALID_WORK_GROUP_SIZE;
    return is_wrong("unlaunched", own->code->name) ? CL_OUT_OF_RESOURCES : run(queue, own, global, local);
}

} // namespace

/* Ours in place of the driver's, or NULL. */
extern "C" void *skv_fake_replacement(const char *name)
{
    const struct {
        const char *name;
        void *function;
    } replaced[] = {
        {"clGetDeviceInfo", (void *)get_device_info},      {"clCreateProgramWithBinary", (void *)create_program},
        {"clBuildProgram", (void *)build_program},         {"clGetProgramBuildInfo", (void *)get_build_info},
        {"clReleaseProgram", (void *)release_program},     {"clCreateKernel", (void *)create_kernel},
        {"clReleaseKernel", (void *)release_kernel},       {"clSetKernelArg", (void *)set_argument},
        {"clEnqueueNDRangeKernel", (void *)enqueue_kernel}};
    for (const auto &entry : replaced)
        if (!strcmp(entry.name, name))
            return entry.function;
    return nullptr;
}
