// A stand-in for NVIDIA's driver (libcuda.so.1), for tests where there is no GPU. Its device is the
// CPU, and its kernels are the text of gpu/kernels/, compiled as C++ (`kernels.inc`, beside a table
// of them; stand_in.rs writes both). It looks into the PTX only for the names of kernels and the
// number of their parameters.
//
// What is asked of a stream is done when somebody waits, as late as a GPU may do it: copies then
// read and write what is there by then.
//
//     STAND_IN_FAILS=cuMemAlloc_v2=2     this call gives this code; more of them behind commas
//     STAND_IN_DRIVER=10020              the version of the driver, CUDA 10.2
//     STAND_IN_CAPABILITY=61             compute capability 6.1
//     STAND_IN_UNITS=132                 multiprocessors
//     STAND_IN_CACHE=52428800            bytes of their cache
//     STAND_IN_LOG=FILE                  gets a line for each call, and for each misuse
//     STAND_IN_LAUNCHES=FILE             gets a line for each launch: the kernel, groups, items, bytes of the
//                                        memory that it is given, and its whole numbers
//     STAND_IN_EXECUTES=20               only so many launches are executed, the others are only written down
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <set>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

// What the kernels know of CUDA C.
struct Three {
    unsigned x, y, z;
};
static Three blockIdx, blockDim, threadIdx;
static void wait_for_the_group();
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
#define __syncthreads() wait_for_the_group()
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline long long __double_as_longlong(double x)
{
    long long bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline double __longlong_as_double(long long bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#include "kernels.inc"

// A kernel: its call with the arguments at these places, which are copied at once.
struct Kernel {
    size_t parameters;
    bool waits;
    std::function<std::function<void()>(void **)> bind;
    // Its memory, and its whole numbers.
    std::function<std::pair<std::set<uint64_t>, std::vector<int>>(void **)> look;
};

template <class... A, size_t... I>
static std::function<void()> bound(void (*kernel)(A...), void **places, std::index_sequence<I...>)
{
    auto arguments = std::make_tuple(*(A *)places[I]...);
    return [=] { std::apply(kernel, arguments); };
}

template <class A> static void look_at(void *place, std::set<uint64_t> &memory, std::vector<int> &numbers)
{
    if constexpr (std::is_pointer_v<A>)
        memory.insert((uint64_t) * (A *)place);
    else if constexpr (std::is_same_v<A, int>)
        numbers.push_back(*(int *)place);
}

template <class... A, size_t... I>
static std::pair<std::set<uint64_t>, std::vector<int>> looked(void **places, std::index_sequence<I...>)
{
    std::set<uint64_t> memory;
    std::vector<int> numbers;
    (look_at<A>(places[I], memory, numbers), ...);
    return {memory, numbers};
}

template <class... A> static Kernel made(void (*kernel)(A...), bool waits)
{
    auto look = [=](void **places) { return looked<A...>(places, std::index_sequence_for<A...>()); };
    auto bind = [=](void **places) { return bound(kernel, places, std::index_sequence_for<A...>()); };
    return {sizeof...(A), waits, bind, look};
}

static std::map<std::string, Kernel> kernels = {
#define NAMED(NAME, WAITS) {#NAME, made(NAME, WAITS)},
#include "names.inc"
};

// The items of a group that waits for each other: each has a stack, and they take turns.
static std::vector<ucontext_t> items;
static std::vector<std::vector<char>> stacks;
static ucontext_t between;
static size_t item;
static bool ended;
static const std::function<void()> *body;

static void wait_for_the_group() { swapcontext(&items[item], &between); }

static void one_item()
{
    (*body)();
    ended = true;
}

static void turn(size_t which)
{
    item = which;
    threadIdx = {unsigned(which % blockDim.x), unsigned(which / blockDim.x), 0};
}

static void run_group(bool waits, const std::function<void()> &call)
{
    size_t count = size_t(blockDim.x) * blockDim.y;
    if (!waits) {
        for (size_t i = 0; i < count; i++) {
            turn(i);
            call();
        }
        return;
    }
    body = &call;
    items.resize(count);
    stacks.resize(count);
    for (size_t i = 0; i < count; i++) {
        stacks[i].resize(1 << 16);
        getcontext(&items[i]);
        items[i].uc_stack.ss_sp = stacks[i].data();
        items[i].uc_stack.ss_size = stacks[i].size();
        items[i].uc_link = &between;
        makecontext(&items[i], one_item, 0);
    }
    // All wait equally often, so all end in the same round.
    for (ended = false; !ended;)
        for (size_t i = 0; i < count; i++) {
            turn(i);
            swapcontext(&between, &items[i]);
        }
}

// The driver.

enum { OK, INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE = 100, NO_CONTEXT = 201, INVALID_PTX = 218, NOT_FOUND = 500 };

static const uint64_t MEMORY = 1 << 30;
static std::vector<std::function<void()>> asked;
static std::map<uint64_t, size_t> memory;
static uint64_t used;
static std::string ptx;
// A device that failed does no more work.
static bool lost;
static int graphs;
static thread_local void *context;

static void say(const std::string &line)
{
    static FILE *log = getenv("STAND_IN_LOG") ? fopen(getenv("STAND_IN_LOG"), "a") : nullptr;
    if (log) {
        fprintf(log, "%s\n", line.c_str());
        fflush(log);
    }
}

static int misuse(const std::string &what)
{
    say("misuse: " + what);
    fprintf(stderr, "stand-in driver: %s\n", what.c_str());
    abort();
}

// The code that this call is to give.
static int entered(const char *name)
{
    say(name);
    const char *fails = getenv("STAND_IN_FAILS");
    std::string list = std::string(",") + (fails ? fails : ""), key = std::string(",") + name + "=";
    size_t place = list.find(key);
    if (place == std::string::npos)
        return OK;
    if (key == ",cuStreamSynchronize=") {
        lost = true;
        asked.clear();
    }
    return atoi(list.c_str() + place + key.size());
}

static int number(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static void finish()
{
    auto now = std::move(asked);
    asked.clear();
    for (auto &one : now)
        one();
}

static void reaches(uint64_t address, size_t bytes)
{
    auto piece = memory.upper_bound(address);
    if (piece == memory.begin() || (--piece)->first + piece->second < address + bytes)
        misuse("a copy outside of what was allocated");
}

#define CALL(NAME, ...)                                                                                    \
    extern "C" int NAME(__VA_ARGS__)                                                                       \
    {                                                                                                      \
        if (int code = entered(#NAME))                                                                     \
            return code;
// A call for which a context must be current.
#define WITHIN(NAME, ...)                                                                                  \
    CALL(NAME, __VA_ARGS__)                                                                                \
    if (!context)                                                                                          \
        return NO_CONTEXT;

CALL(cuDriverGetVersion, int *version)
    *version = number("STAND_IN_DRIVER", 12040);
    return OK;
}
CALL(cuInit, unsigned)
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible && !*visible ? NO_DEVICE : OK;
}
CALL(cuDeviceGetCount, int *count)
    *count = 1;
    return OK;
}
CALL(cuDeviceGet, int *device, int ordinal)
    *device = 7 + ordinal;
    return ordinal == 0 ? OK : INVALID_VALUE;
}
CALL(cuDeviceGetName, char *name, int length, int)
    snprintf(name, length, "Stand-in");
    return OK;
}
CALL(cuDeviceTotalMem_v2, size_t *bytes, int)
    *bytes = MEMORY;
    return OK;
}
CALL(cuDeviceGetAttribute, int *value, int which, int)
    int capability = number("STAND_IN_CAPABILITY", 90);
    *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : which == 16 ? number("STAND_IN_UNITS", 4) : which == 38 ? number("STAND_IN_CACHE", 1 << 20) : 0;
    return OK;
}
// A process has one context of a device, which ends with the last that holds it.
static int holders;
CALL(cuDevicePrimaryCtxRetain, void **made, int device)
    if (device != 7)
        misuse("a device that was not listed");
    holders++;
    *made = &memory;
    return OK;
}
CALL(cuDevicePrimaryCtxRelease_v2, int)
    if (holders == 0)
        misuse("a context is released that nobody holds");
    if (--holders > 0)
        return OK;
    if (!asked.empty() && !lost)
        misuse("a context ends with work under way");
    if (!memory.empty() && !lost)
        misuse("a context ends with memory in use");
    if (graphs)
        misuse("a context ends with graphs in use");
    context = nullptr;
    return OK;
}
CALL(cuCtxSetCurrent, void *current)
    context = current;
    return OK;
}
WITHIN(cuStreamCreate, void **stream, unsigned)
    *stream = &asked;
    return OK;
}
WITHIN(cuStreamSynchronize, void *stream)
    if (stream != &asked)
        misuse("another stream");
    finish();
    return OK;
}
WITHIN(cuStreamDestroy_v2, void *)
    return OK;
}
WITHIN(cuEventCreate, void **event, unsigned)
    *event = new char;
    return OK;
}
WITHIN(cuEventRecord, void *, void *)
    return OK;
}
WITHIN(cuEventSynchronize, void *)
    finish();
    return OK;
}
WITHIN(cuEventDestroy_v2, void *event)
    delete (char *)event;
    return OK;
}
WITHIN(cuMemGetInfo_v2, size_t *left, size_t *total)
    *left = MEMORY - used;
    *total = MEMORY;
    return OK;
}
WITHIN(cuMemAlloc_v2, uint64_t *address, size_t bytes)
    if (bytes == 0)
        return INVALID_VALUE;
    if (bytes > MEMORY - used)
        return OUT_OF_MEMORY;
    void *made = malloc(bytes);
    // Not a number that any test expects.
    memset(made, 0xA5, bytes);
    *address = (uint64_t)made;
    memory[*address] = bytes;
    used += bytes;
    return OK;
}
WITHIN(cuMemFree_v2, uint64_t address)
    if (!asked.empty())
        misuse("memory is freed with work under way");
    auto piece = memory.find(address);
    if (piece == memory.end())
        misuse("memory is freed that is not there");
    used -= piece->second;
    memory.erase(piece);
    free((void *)address);
    return OK;
}
WITHIN(cuMemHostAlloc, void **made, size_t bytes, unsigned)
    *made = malloc(bytes);
    return OK;
}
WITHIN(cuMemFreeHost, void *made)
    free(made);
    return OK;
}
WITHIN(cuMemcpyHtoDAsync_v2, uint64_t to, const void *from, size_t bytes, void *)
    reaches(to, bytes);
    asked.push_back([=] { memcpy((void *)to, from, bytes); });
    return OK;
}
WITHIN(cuMemcpyDtoHAsync_v2, void *to, uint64_t from, size_t bytes, void *)
    reaches(from, bytes);
    asked.push_back([=] { memcpy(to, (void *)from, bytes); });
    return OK;
}
WITHIN(cuMemcpyDtoDAsync_v2, uint64_t to, uint64_t from, size_t bytes, void *)
    reaches(to, bytes);
    reaches(from, bytes);
    asked.push_back([=] { memcpy((void *)to, (void *)from, bytes); });
    return OK;
}
extern "C" int cuModuleLoadDataEx(void **module, const char *text, unsigned count, const int *options, void **values)
{
    int code = entered("cuModuleLoadDataEx");
    for (unsigned i = 0; code && i + 1 < count; i++)
        if (options[i] == 5 && options[i + 1] == 6)
            snprintf((char *)values[i], (size_t)values[i + 1], "ptxas fatal: the stand-in was told to");
    if (code)
        return code;
    ptx = text;
    *module = &ptx;
    return ptx.find(".version") == std::string::npos ? INVALID_PTX : OK;
}
WITHIN(cuModuleUnload, void *)
    ptx.clear();
    return OK;
}
WITHIN(cuModuleGetFunction, const void **function, void *, const char *name)
    auto kernel = kernels.find(name);
    size_t entry = ptx.find(".entry " + std::string(name) + "(");
    if (kernel == kernels.end() || entry == std::string::npos)
        return NOT_FOUND;
    size_t end = ptx.find("\n)", entry), parameters = 0;
    for (size_t at = entry; (at = ptx.find(".param ", at)) < end; at++)
        parameters++;
    if (parameters != kernel->second.parameters)
        misuse(std::string(name) + ": the PTX has other parameters than the text");
    *function = &kernel->second;
    return OK;
}
// The work of a launch, with the arguments as they are now; nothing where the driver would refuse it.
static std::function<void()> launched(const Kernel *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                      unsigned bz, void **arguments)
{
    if (gx > INT32_MAX || gy > 65535 || gz != 1 || bx * by > 1024 || bz != 1 || gx * gy * bx * by == 0)
        return nullptr;
    auto call = kernel->bind(arguments);
    std::string line;
    if (getenv("STAND_IN_LAUNCHES")) {
        auto [pieces, numbers] = kernel->look(arguments);
        size_t bytes = 0;
        for (auto piece : pieces)
            bytes += memory.count(piece) ? memory[piece] : 0;
        for (auto &known : kernels)
            if (&known.second == kernel)
                line = known.first;
        line += " " + std::to_string(gx * gy) + " " + std::to_string(bx * by) + " " + std::to_string(bytes);
        for (int number : numbers)
            line += " " + std::to_string(number);
    }
    return [=] {
        static FILE *launches = line.empty() ? nullptr : fopen(getenv("STAND_IN_LAUNCHES"), "a");
        static int executed, most = number("STAND_IN_EXECUTES", INT32_MAX);
        if (launches) {
            fprintf(launches, "%s\n", line.c_str());
            fflush(launches);
        }
        if (executed++ >= most)
            return;
        blockDim = {bx, by, bz};
        for (unsigned y = 0; y < gy; y++)
            for (unsigned x = 0; x < gx; x++) {
                blockIdx = {x, y, 0};
                run_group(kernel->waits, call);
            }
    };
}
WITHIN(cuLaunchKernel, const Kernel *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
       unsigned bz, unsigned, void *, void **arguments, void **)
    auto work = launched(kernel, gx, gy, gz, bx, by, bz, arguments);
    if (!work)
        return INVALID_VALUE;
    asked.push_back(work);
    return OK;
}

// Graphs of launches that follow one another.
struct Node {
    const Kernel *kernel;
    std::function<void()> work;
};
struct Graph {
    std::vector<Node *> nodes;
    bool executable;
};
struct Description {
    const Kernel *kernel;
    unsigned gx, gy, gz, bx, by, bz, shared;
    void **arguments, **extra, *kern, *context;
};
static std::function<void()> launched(const Description *d)
{
    return launched(d->kernel, d->gx, d->gy, d->gz, d->bx, d->by, d->bz, d->arguments);
}
WITHIN(cuGraphCreate, Graph **made, unsigned)
    *made = new Graph{};
    graphs++;
    return OK;
}
WITHIN(cuGraphAddKernelNode_v2, Node **made, Graph *graph, Node *const *before, size_t count, const Description *node)
    if (count != !graph->nodes.empty() || (count && *before != graph->nodes.back()))
        misuse("a launch that does not follow the one before");
    auto work = launched(node);
    if (!work)
        return INVALID_VALUE;
    *made = new Node{node->kernel, work};
    graph->nodes.push_back(*made);
    return OK;
}
WITHIN(cuGraphInstantiateWithFlags, Graph **made, Graph *graph, unsigned long long)
    *made = new Graph{graph->nodes, true};
    graphs++;
    return OK;
}
WITHIN(cuGraphExecKernelNodeSetParams_v2, Graph *graph, Node *node, const Description *to)
    if (!graph->executable || node->kernel != to->kernel)
        misuse("another kernel in the place of a node's");
    auto work = launched(to);
    if (!work)
        return INVALID_VALUE;
    node->work = work;
    return OK;
}
WITHIN(cuGraphLaunch, Graph *graph, void *stream)
    if (!graph->executable || stream != &asked)
        misuse("a graph that cannot be launched there");
    for (auto node : graph->nodes)
        asked.push_back(node->work);
    return OK;
}
WITHIN(cuGraphExecDestroy, Graph *graph)
    delete graph;
    graphs--;
    return OK;
}
WITHIN(cuGraphDestroy, Graph *graph)
    for (auto node : graph->nodes)
        delete node;
    delete graph;
    graphs--;
    return OK;
}
extern "C" int cuGetErrorString(int code, const char **text)
{
    static const std::map<int, const char *> texts = {
        {INVALID_VALUE, "invalid argument"},
        {OUT_OF_MEMORY, "out of memory"},
        {100, "no CUDA-capable device is detected"},
        {NO_CONTEXT, "invalid device context"},
        {INVALID_PTX, "a PTX JIT compilation failed"},
        {NOT_FOUND, "named symbol not found"},
        {719, "unspecified launch failure"},
    };
    auto found = texts.find(code);
    *text = found == texts.end() ? nullptr : found->second;
    return found == texts.end() ? INVALID_VALUE : OK;
}
