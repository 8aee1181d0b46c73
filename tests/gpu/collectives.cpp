/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/gpu/emulator.h"

namespace emulator
{

uint32_t shuffle(uint32_t x, unsigned source, place at)
{
    warp_data &w = own_warp();
    unsigned i = own_lane();
    w.operand[i] = x;
    w.source[i] = source;
    meet_warp(
        "shuffle",
        [](warp_data &all, unsigned n_lanes) {
            for (unsigned k = 0; k < n_lanes; k++)
                all.result[k] = all.operand[all.source[k] % n_lanes];
        },
        at);
    return w.result[i];
}

uint64_t ballot(bool x, place at)
{
    warp_data &w = own_warp();
    w.ballot |= (uint64_t)x << own_lane();
    meet_warp(
        "ballot",
        [](warp_data &all, unsigned) {
            all.ballot_result = all.ballot;
            all.ballot = 0;
        },
        at);
    return w.ballot_result;
}

uint32_t sum_before(uint32_t x, unsigned n, place at)
{
    warp_data &w = own_warp();
    unsigned i = own_lane();
    w.operand[i] = x;
    w.source[i] = n;
    meet_warp(
        "sum_before",
        [](warp_data &all, unsigned n_lanes) {
            for (unsigned k = 0; k < n_lanes; k++)
                all.result[k] = k % all.source[0] ? all.result[k - 1] + all.operand[k - 1] : 0;
        },
        at);
    return w.result[i];
}

} // namespace emulator
