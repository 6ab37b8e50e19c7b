#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/step_time.h"

/* A machine whose steps follow the formula, with noise. */
struct machine {
    double fixed, decode_row, decode_kv, prefill_row, prefill_kv; /* seconds */
    double noise;                                                 /* +- this share */
    double stall_share;                                           /* steps that take five times as long */
    uint64_t seed, draws;
};

/* 135 million parameters on two cores; and one of eight billion on a machine that is bound by its bandwidth.
 */
static const struct machine small = {5e-3, 9e-4, 8.5e-7, 6e-4, 9e-8, 0, 0, 0, 0};
static const struct machine large = {0.25, 2e-3, 5e-6, 9e-3, 4e-7, 0, 0, 0, 0};

static double truth(const struct machine *machine, const struct step_shape *shape) {
    return machine->fixed + machine->decode_row * shape->decode_rows +
           machine->decode_kv * (double)shape->decode_kv_tokens + machine->prefill_row * shape->prefill_rows +
           machine->prefill_kv * (double)shape->prefill_kv_tokens;
}

static double draw(struct machine *machine) { return rng_uniform(machine->seed, machine->draws++); }

static double measure(struct machine *machine, const struct step_shape *shape) {
    double seconds = truth(machine, shape) * (1 + machine->noise * (2 * draw(machine) - 1));
    return draw(machine) < machine->stall_share ? 5 * seconds : seconds;
}

static struct step_shape with_chunk(struct step_shape shape, uint32_t n, uint32_t context) {
    shape.prefill_rows = n;
    shape.prefill_kv_tokens = (uint64_t)n * context + (uint64_t)n * (n + 1) / 2;
    return shape;
}

static struct step_shape decoding(uint32_t rows, uint64_t kv_tokens_a_row) {
    return (struct step_shape){.decode_rows = rows, .decode_kv_tokens = rows * kv_tokens_a_row};
}

/* What a server's steps look like: one to 16 sequences, every fourth step with a chunk. */
static struct step_shape usual(struct machine *machine) {
    struct step_shape shape =
        decoding(1 + (uint32_t)(draw(machine) * 16), 100 + (uint64_t)(draw(machine) * 2000));
    if (draw(machine) < 0.75) return shape;
    return with_chunk(shape, 1 + (uint32_t)(draw(machine) * 255), (uint32_t)(draw(machine) * 4000));
}

static void run(struct step_time *times, struct machine *machine, int n_steps) {
    for (int i = 0; i < n_steps; i++) {
        struct step_shape shape = usual(machine);
        step_time_note(times, &shape, measure(machine, &shape));
    }
}

/* The largest error over the shapes that matter. */
static double worst_error(const struct step_time *times, const struct machine *machine) {
    double worst = 0;
    for (uint32_t rows = 1; rows <= 16; rows += 5)
        for (uint64_t kv = 200; kv <= 2000; kv += 600)
            for (uint32_t chunk = 0; chunk <= 256; chunk += 64) {
                struct step_shape shape = with_chunk(decoding(rows, kv), chunk, 1000);
                double want = truth(machine, &shape);
                worst = fmax(worst, fabs(step_time_predict(times, &shape) - want) / want);
            }
    return worst;
}

static void learns_a_machine_exactly_without_noise(void **state) {
    (void)state;
    const struct machine *const machines[] = {&small, &large};
    for (int i = 0; i < 2; i++) {
        struct machine machine = *machines[i];
        machine.seed = 1;
        struct step_time times;
        step_time_open(&times);
        run(&times, &machine, 500);
        assert_true(worst_error(&times, &machine) < 0.02);
    }
}

static void learns_through_noise_and_stalls(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++)
        for (int i = 0; i < 2; i++) {
            struct machine machine = i == 0 ? small : large;
            machine.noise = 0.15;
            machine.stall_share = 0.03;
            machine.seed = seed;
            struct step_time times;
            step_time_open(&times);
            run(&times, &machine, 400);
            assert_true(worst_error(&times, &machine) < 0.15);
        }
}

static void one_stall_moves_little(void **state) {
    (void)state;
    struct machine machine = small;
    machine.noise = 0.05;
    struct step_time times;
    step_time_open(&times);
    run(&times, &machine, 300);
    struct step_shape shape = decoding(8, 1000);
    double before = step_time_predict(&times, &shape);
    step_time_note(&times, &shape, 100 * before);
    assert_true(fabs(step_time_predict(&times, &shape) / before - 1) < 0.05);
}

static void follows_a_machine_that_changes(void **state) {
    (void)state;
    const double factors[] = {3, 0.4};
    for (int i = 0; i < 2; i++) {
        struct machine machine = small;
        machine.noise = 0.1;
        struct step_time times;
        step_time_open(&times);
        run(&times, &machine, 500);
        machine.fixed *= factors[i];
        machine.decode_row *= factors[i];
        machine.decode_kv *= factors[i];
        machine.prefill_row *= factors[i];
        machine.prefill_kv *= factors[i];
        assert_true(worst_error(&times, &machine) > 0.5);
        run(&times, &machine, 150); /* of which a fourth have prefill rows */
        assert_true(worst_error(&times, &machine) < 0.1);
    }
}

static void decoding_does_not_unlearn_what_a_prompt_costs(void **state) {
    (void)state;
    struct machine machine = small;
    machine.noise = 0.1;
    struct step_time times;
    step_time_open(&times);
    run(&times, &machine, 500);
    for (int i = 0; i < 20000; i++) {
        struct step_shape shape = decoding(4, 500);
        step_time_note(&times, &shape, measure(&machine, &shape));
    }
    struct step_shape shape = with_chunk(decoding(4, 500), 128, 1000);
    assert_true(fabs(step_time_predict(&times, &shape) / truth(&machine, &shape) - 1) < 0.1);
    /* nor is the next prompt, at its worst, all that is known of prompts then */
    step_time_note(&times, &shape, 5 * truth(&machine, &shape));
    assert_true(fabs(step_time_predict(&times, &shape) / truth(&machine, &shape) - 1) < 0.1);
}

/* The rule, held against the machine itself: within the accuracy of the fit, a step with the chunk takes at
 * most twice one without, and no much longer chunk would. */
static void a_chunk_is_the_largest_that_keeps_the_rule(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++)
        for (int i = 0; i < 2; i++) {
            struct machine machine = i == 0 ? small : large;
            machine.noise = 0.1;
            machine.stall_share = 0.02;
            machine.seed = seed;
            struct step_time times;
            step_time_open(&times);
            run(&times, &machine, 400);
            for (uint32_t rows = 2; rows <= 16; rows += 7)
                for (uint32_t context = 0; context <= 4000; context += 2000) {
                    struct step_shape alone = decoding(rows, 1000);
                    uint32_t chunk = step_time_chunk(&times, &alone, context, 2, 1, 4096);
                    struct step_shape with = with_chunk(alone, chunk, context);
                    double ratio = truth(&machine, &with) / truth(&machine, &alone);
                    assert_true(ratio < 2.3 && ratio > 1.7);
                    /* and exactly, by the fit itself */
                    struct step_shape more = with_chunk(alone, chunk + 1, context);
                    double limit = 2 * step_time_predict(&times, &alone);
                    assert_true(step_time_predict(&times, &with) <= limit);
                    assert_true(step_time_predict(&times, &more) > limit);
                }
        }
}

static void chunks_keep_their_bounds_and_order(void **state) {
    (void)state;
    struct machine machine = small;
    machine.noise = 0.1;
    struct step_time times;
    step_time_open(&times);
    for (int n_steps = 0; n_steps < 300; n_steps += 60) { /* from the very start on */
        struct step_shape alone = decoding(8, 1000);
        assert_int_equal(step_time_chunk(&times, &alone, 0, 2, 32, 32), 32);
        assert_int_equal(step_time_chunk(&times, &alone, 0, 1, 16, 512), 16); /* no chunk costs nothing */
        assert_int_equal(step_time_chunk(&times, &alone, 0, 1e9, 16, 512), 512);
        struct step_shape nobody = {0};
        assert_int_equal(step_time_chunk(&times, &nobody, 0, 2, 16, 512), 512);
        uint32_t last = 0;
        for (double factor = 1; factor < 20; factor *= 1.2) {
            uint32_t chunk = step_time_chunk(&times, &alone, 1000, factor, 1, UINT32_MAX);
            assert_true(chunk >= last);
            last = chunk;
        }
        last = UINT32_MAX;
        for (uint32_t context = 0; context < 100000; context = context * 2 + 100) {
            uint32_t chunk = step_time_chunk(&times, &alone, context, 2, 1, 4096);
            assert_true(chunk <= last);
            last = chunk;
        }
        run(&times, &machine, 60);
    }
}

static void what_is_no_time_is_ignored(void **state) {
    (void)state;
    struct machine machine = small;
    struct step_time times, before;
    step_time_open(&times);
    run(&times, &machine, 10);
    before = times;
    const double seconds[] = {0, -1, NAN, INFINITY, 1e-300};
    struct step_shape shape = decoding(1, 1);
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        step_time_note(&times, &shape, seconds[i]);
    assert_memory_equal(&times, &before, sizeof times);
}

static void extremes_stay_finite_and_not_negative(void **state) {
    (void)state;
    struct step_time times;
    step_time_open(&times);
    struct machine dice = {.seed = 7};
    for (int i = 0; i < 3000; i++) {
        struct step_shape shape = {0};
        if (draw(&dice) < 0.7)
            shape = decoding((uint32_t)(draw(&dice) * 1000), (uint64_t)pow(2, 40 * draw(&dice)));
        if (draw(&dice) < 0.5)
            shape = with_chunk(shape, (uint32_t)(draw(&dice) * 1e6), (uint32_t)pow(2, 32 * draw(&dice)));
        step_time_note(&times, &shape, pow(10, -9 + 15 * draw(&dice)));
        for (int j = 0; j < STEP_TIME_TERMS; j++)
            assert_true(isfinite(times.coefficients[j]) && times.coefficients[j] >= 0);
    }
}

static void the_same_steps_give_the_same_fit_and_no_allocation(void **state) {
    (void)state;
    uint64_t allocations = mem_count();
    struct step_time times[2];
    for (int i = 0; i < 2; i++) {
        struct machine machine = small;
        machine.noise = 0.2;
        step_time_open(&times[i]);
        run(&times[i], &machine, 100);
    }
    assert_memory_equal(&times[0], &times[1], sizeof times[0]);
    assert_int_equal(mem_count(), allocations);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_a_machine_exactly_without_noise),
        cmocka_unit_test(learns_through_noise_and_stalls),
        cmocka_unit_test(one_stall_moves_little),
        cmocka_unit_test(follows_a_machine_that_changes),
        cmocka_unit_test(decoding_does_not_unlearn_what_a_prompt_costs),
        cmocka_unit_test(a_chunk_is_the_largest_that_keeps_the_rule),
        cmocka_unit_test(chunks_keep_their_bounds_and_order),
        cmocka_unit_test(what_is_no_time_is_ignored),
        cmocka_unit_test(extremes_stay_finite_and_not_negative),
        cmocka_unit_test(the_same_steps_give_the_same_fit_and_no_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
