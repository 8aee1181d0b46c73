/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulator's own test: the right ones of samples.h give right results in every order, the wrong ones are found.
 */
#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
#include <cmocka.h>
}

#include "primitives.h"

enum { N_ORDERS = 12 };

typedef std::vector<uint> words;

template <class... A> static void launch(const char *name, uint n_groups, uint scratch_bytes, A... arguments)
{
    void *params[] = {&arguments...};
    const emulator::kernel *kernel = emulator::find_kernel(name);
    assert_non_null(kernel);
    assert_int_equal(kernel->n_params, sizeof...(A));
    emulator::run({name, kernel->run, params, {n_groups, 1, 1}, {kernel->lanes, 1, 1}, scratch_bytes, WARP_LANES});
}

/* Numbers without a pattern. */
static uint mix(uint x)
{
    x = (x ^ 0x5bd1e995u) * 2654435761u;
    x ^= x >> 15;
    x *= 0x85ebca6bu;
    return x ^ x >> 13;
}

static words numbers(size_t n)
{
    words w(n);
    for (size_t i = 0; i < n; i++)
        w[i] = mix((uint)i);
    return w;
}

/* ---- right kernels, in every order */

template <void check()> static void in_all_orders(void **)
{
    for (uint order = 0; order < N_ORDERS; order++) {
        emulator::set_order(order);
        check();
    }
    emulator::set_order(0);
}

static void check_add()
{
    const uint n = 200;
    std::vector<float> a(n), b(n), sum(n);
    for (uint i = 0; i < n; i++) {
        a[i] = (float)i;
        b[i] = 0.5f * (float)i;
    }
    launch("sample_add", (n + 63) / 64, 0, (const float *)a.data(), (const float *)b.data(), sum.data(), n);
    for (uint i = 0; i < n; i++)
        assert_true(sum[i] == 1.5f * (float)i);
}

static void check_reduce()
{
    words in = numbers(3 * 128), out(3);
    launch("sample_reduce", 3, 0, (const uint *)in.data(), out.data());
    for (uint g = 0; g < 3; g++) {
        uint sum = 0;
        for (uint i = 0; i < 128; i++)
            sum += in[g * 128 + i];
        assert_int_equal(out[g], sum);
    }
}

static void check_warp()
{
    words out(8 * 64);
    launch("sample_warp", 1, 0, out.data());
    for (uint i = 0; i < 64; i++) {
        const uint lane = i % 32, *own = out.data() + 8 * i;
        assert_int_equal(own[0], i - lane + (lane + 1) % 32);
        assert_true(as_float(own[1]) == (float)(lane ^ 5));
        assert_int_equal(own[2], 0x49249249u);
        assert_int_equal(own[3], 1);
        /* Bytes 0, 2, 5 and 6. */
        assert_int_equal(own[4], lane | 0x66552200u);
        assert_int_equal(own[5], (uint)(0x0123456789abcdefu >> lane));
    }
}

static void check_matrices()
{
    words a = numbers(64 * 4), b = numbers(64 * 2 + 1000), count256(256), count128(256);
    /* No infinities and NaNs: the exponents' top bits differ. */
    for (uint &x : a)
        x &= 0xbfffbfffu;
    for (uint &x : b)
        x &= 0xbfffbfffu;
    std::vector<float> f16(256), bf16(256);
    launch("sample_matrices", 1, 0, (const uint *)a.data(), (const uint *)b.data() + 1000, f16.data(), bf16.data(),
           count256.data(), count128.data());
    for (uint warp = 0; warp < 2; warp++) {
        const uint *x = a.data() + warp * 128, *y = b.data() + 1000 + warp * 64;
        /* From the element to the lane and register that hold it, by the tables of the PTX ISA. */
        auto half_of = [](uint word, uint k) { return word >> 16 * (k % 2) & 0xffff; };
        auto a_half = [&](uint r, uint k) { return half_of(x[4 * (r % 8 * 4 + k % 8 / 2) + r / 8 + 2 * (k / 8)], k); };
        auto b_half = [&](uint k, uint n) { return half_of(y[2 * (4 * n + k % 8 / 2) + k / 8], k); };
        auto a_bit = [&](uint r, uint k, uint n_words) {
            uint reg = r / 8 + 2 * (k / 128);
            assert_true(reg < n_words);
            return x[4 * (r % 8 * 4 + k % 128 / 32) + reg] >> k % 32 & 1;
        };
        auto b_bit = [&](uint k, uint n) { return y[2 * (4 * n + k % 128 / 32) + k / 128] >> k % 32 & 1; };
        for (uint r = 0; r < 16; r++)
            for (uint n = 0; n < 8; n++) {
                uint i_c = r / 8 * 2 + n % 2, at = 4 * (warp * 32 + r % 8 * 4 + n / 2) + i_c;
                double sum = i_c, size = i_c, sum_b = i_c, size_b = i_c;
                for (uint k = 0; k < 16; k++) {
                    double p = (double)half_value(a_half(r, k)) * half_value(b_half(k, n));
                    double q = (double)as_float(a_half(r, k) << 16) * as_float(b_half(k, n) << 16);
                    sum += p;
                    size += fabs(p);
                    sum_b += q;
                    size_b += fabs(q);
                }
                assert_true(fabs(f16[at] - sum) <= 2e-6 * size);
                assert_true(fabs(bf16[at] - sum_b) <= 2e-6 * size_b);
                uint bits[2] = {10 * i_c, 10 * i_c};
                for (uint k = 0; k < 256; k++) {
                    bits[0] += a_bit(r, k, 4) & b_bit(k, n);
                    if (k < 128)
                        bits[1] += a_bit(r, k, 2) & b_bit(k, n);
                }
                assert_int_equal(count256[at], bits[0]);
                assert_int_equal(count128[at], bits[1]);
            }
    }
}

static bool copies_are_right(const char *name)
{
    const uint n = 5;
    std::vector<uint4> in(n * 32); /* aligned */
    uint *w = (uint *)in.data();
    for (uint i = 0; i < n * 128; i++)
        w[i] = mix(i);
    words out(32);
    launch(name, 1, 1024, (const uint *)w, out.data(), n);
    for (uint i = 0; i < 32; i++) {
        uint sum = 0;
        for (uint tile = 0; tile < n; tile++)
            sum += w[128 * tile + 4 * ((i + 1) % 32)];
        if (out[i] != sum)
            return false;
    }
    return true;
}

static void check_copies()
{
    assert_true(copies_are_right("sample_copies"));
}

static bool bulk_is_right(const char *name)
{
    const uint n = 5;
    std::vector<uint4> in(n * 64), out(n * 64);
    uint *w = (uint *)in.data(), *v = (uint *)out.data();
    for (uint i = 0; i < n * 256; i++)
        w[i] = mix(i);
    launch(name, 1, 128 + 2048, (const uint *)w, v, n);
    for (uint i = 0; i < n * 256; i++)
        if (v[i] != 2 * w[i])
            return false;
    return true;
}

static void check_bulk()
{
    assert_true(bulk_is_right("sample_bulk"));
}

static void check_last()
{
    uint counter = 0;
    float parts[9], total = 0;
    launch("sample_last", 9, 0, &counter, (float *)parts, &total);
    assert_true(total == 45);
}

/* ---- wrong kernels: the process ends with a report, or results show it */

enum { ABORTED = 1, WRONG = 2 };

/* What becomes of `work` in a process of its own: 0, WRONG where it says false, or ABORTED with the report. */
template <class F> static int outcome(uint order, std::string *report, F work)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        emulator::set_order(order);
        _exit(work() ? 0 : WRONG);
    }
    close(ends[1]);
    char text[4096];
    report->clear();
    for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;)
        report->append(text, (size_t)n);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0       ? 0
           : WIFEXITED(status) && WEXITSTATUS(status) == WRONG ? WRONG
                                                               : ABORTED;
}

struct expectation {
    const char *kernel, *report;
    uint n_groups, scratch_bytes;
};

/* Kernels with one array for results, which end with a report in every order. */
static void test_reported(void **)
{
    static const expectation all[] = {
        {"wrong_divergence", "barrier divergence: other threads wait", 1, 0},
        {"wrong_collective", "lanes of a warp diverge", 1, 0},
        {"wrong_exit", "lane", 1, 0},
        {"wrong_exit_at_barrier", "barrier divergence", 1, 0},
        {"wrong_deadlock", "deadlock", 1, 16},
        {"wrong_bounds", "shared address 0x1080, which is byte 128 of 128", 1, 128},
        {"wrong_alignment", "is not a multiple of 4", 1, 128},
#ifdef SKV_ASAN
        {"wrong_scratch_overrun", "AddressSanitizer", 1, 128},
#else
        {"wrong_scratch_overrun", "wrote behind its 128 bytes", 1, 128},
#endif
    };
    for (const expectation &e : all)
        for (uint order = 0; order < N_ORDERS; order++) {
            std::string report;
            words out(128);
            int how = outcome(order, &report, [&] {
                launch(e.kernel, e.n_groups, e.scratch_bytes, out.data());
                return true;
            });
            if (how != ABORTED || report.find(e.report) == report.npos)
                fail_msg("%s, order %u: ended with %d and\n%s", e.kernel, order, how, report.c_str());
            if (report.find("AddressSanitizer") == report.npos && report.find("samples.h:") == report.npos &&
                report.find("wrote behind") == report.npos)
                fail_msg("%s, order %u: no source line in\n%s", e.kernel, order, report.c_str());
        }
}

static uint orders_that_find(bool (*is_right)())
{
    uint found = 0;
    for (uint order = 0; order < N_ORDERS; order++) {
        std::string report;
        if (outcome(order, &report, is_right))
            found |= 1u << order;
    }
    return found;
}

static bool no_barrier_is_right()
{
    words out(128);
    launch("wrong_no_barrier", 1, 0, out.data());
    for (uint i = 0; i < 128; i++)
        if (out[i] != 127 - i)
            return false;
    return true;
}

static bool no_trailing_barrier_is_right()
{
    words out(128);
    launch("wrong_no_trailing_barrier", 1, 0, out.data());
    for (uint i = 0; i < 128; i++) {
        uint from = (i + 64) % 128 / 32 * 32 + (i % 32 ^ 1);
        if (out[i] != 4 * from + 6)
            return false;
    }
    return true;
}

static bool late_store_is_right()
{
    words out(32);
    launch("wrong_late_store", 1, 16, out.data());
    for (uint x : out)
        if (x != 1)
            return false;
    return true;
}

static void test_races(void **)
{
    const uint all = (1u << N_ORDERS) - 1;
    assert_int_equal(orders_that_find(no_barrier_is_right), all);
    /* Every other order takes turns and hides it. */
    assert_int_equal(orders_that_find(no_trailing_barrier_is_right) & 0xc, 0xc);
    assert_int_equal(orders_that_find(no_trailing_barrier_is_right) & 0x3, 0);
    assert_int_equal(orders_that_find([] { return copies_are_right("wrong_copies"); }), all);
    assert_true(orders_that_find([] { return copies_are_right("wrong_copy_end"); }) != 0);
    assert_int_equal(orders_that_find(late_store_is_right) & 0xa, 0xa);
}

static void test_bulk_mistakes(void **)
{
    const uint all = (1u << N_ORDERS) - 1;
    for (const char *name : {"wrong_bulk_wait", "wrong_bulk_fence", "wrong_bulk_reuse", "wrong_bulk_parity"}) {
        uint found = 0;
        for (uint order = 0; order < N_ORDERS; order++) {
            std::string report;
            if (outcome(order, &report, [&] { return bulk_is_right(name); }))
                found |= 1u << order;
        }
        if (found != all)
            fail_msg("%s is found by orders 0x%x only", name, found);
    }
}

#ifndef SKV_ASAN /* which has red zones instead */
static void test_fresh(void **state)
{
    (void)state;
    words out(32, 1);
    launch("wrong_fresh", 2, 0, out.data());
    for (uint i = 0; i < 32; i++)
        assert_int_equal(out[i], 0xcdcdcdcdu);
}
#endif

/* ---- 16-bit values, all of them */

static void test_values(void **)
{
    for (uint bits = 0; bits < 0x10000; bits++) {
        uint magnitude = bits & 0x7fff;
        float x = half_value(bits);
        if (magnitude > 0x7c00) {
            assert_true(isnan(x) && half_bits(x) == 0x7fff);
            continue;
        }
        double expected =
            magnitude < 0x400 ? ldexp(magnitude, -24) : ldexp(1024 + (magnitude & 0x3ff), (int)(magnitude >> 10) - 25);
        if (magnitude == 0x7c00)
            expected = INFINITY;
        assert_true(fabs(x) == expected && !signbit(x) == !(bits & 0x8000));
        assert_int_equal(half_bits(x), bits);
        if (magnitude < 0x7c00) {
            /* Half way to the next value: to the even one; beside it: to the nearer. */
            float next = half_value(bits + 1),
                  middle = x + (magnitude == 0x7bff ? x - half_value(bits - 1) : next - x) / 2;
            assert_int_equal(half_bits(middle), bits + (bits & 1));
            assert_int_equal(half_bits(nextafterf(middle, x)), bits);
            assert_int_equal(half_bits(nextafterf(middle, bits & 0x8000 ? -INFINITY : INFINITY)), bits + 1);
        }
    }
    assert_int_equal(pack_bf16(as_float(0x3f808000), as_float(0x3f818000)), 0x3f823f80);
    assert_int_equal(pack_bf16(as_float(0x7f7fffff), NAN), 0x7fff7f80);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        {"add", in_all_orders<check_add>, nullptr, nullptr, nullptr},
        {"reduce", in_all_orders<check_reduce>, nullptr, nullptr, nullptr},
        {"warp", in_all_orders<check_warp>, nullptr, nullptr, nullptr},
        {"matrices", in_all_orders<check_matrices>, nullptr, nullptr, nullptr},
        {"copies", in_all_orders<check_copies>, nullptr, nullptr, nullptr},
        {"bulk", in_all_orders<check_bulk>, nullptr, nullptr, nullptr},
        {"last", in_all_orders<check_last>, nullptr, nullptr, nullptr},
#ifndef SKV_ASAN
        cmocka_unit_test(test_fresh),
#endif
        cmocka_unit_test(test_reported),
        cmocka_unit_test(test_races),
        cmocka_unit_test(test_bulk_mistakes),
    };
    return cmocka_run_group_tests_name("emulator", tests, nullptr, nullptr);
}
