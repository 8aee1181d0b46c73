/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <string.h>

int main(void)
{
    struct CMUnitTest tests[128];
    size_t n = 0;
    const struct {
        const struct CMUnitTest *tests;
        size_t n;
    } groups[] = {{layout_tests, n_layout_tests}, {front_end_tests, n_front_end_tests}, {error_tests, n_error_tests}};
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        assert_true(n + groups[i].n <= sizeof tests / sizeof tests[0]);
        memcpy(tests + n, groups[i].tests, groups[i].n * sizeof *tests);
        n += groups[i].n;
    }
    return _cmocka_run_group_tests("core", tests, n, NULL, NULL);
}
