#include "plan/memory.h"

#include <math.h>

#include "plan/geometry.h"

/* Recurrent state is kept in F32 by most engines (it accumulates), the convolution's last inputs in BF16. */
enum { STATE_BYTES = 4, CONV_BYTES = 2 };

/* Of one entry of all layers of a part. */
static double entry_bytes(const struct plan_kv_part *part, const struct plan_kv_format *format) {
    double row = plan_kv_row_bytes(format, part->k_dim, false) + plan_kv_row_bytes(format, part->v_dim, true);
    return row * part->n_rows * part->n_layers;
}

double plan_kv_bytes_per_token(const struct plan_model *model, const struct plan_kv_format *format) {
    double bytes = 0;
    for (uint32_t i = 0; i < model->n_kv_parts; i++)
        bytes += entry_bytes(&model->kv_parts[i], format) / model->kv_parts[i].tokens_per_entry;
    return bytes;
}

/* Which entries of a part are meant: geometry.h. */
enum entries { HELD, READ, SHARED_HELD, SHARED_READ };

static double entries_of(const struct plan_kv_part *part, enum entries entries, double context,
                         double shared) {
    switch (entries) {
    case HELD: return plan_part_held(part, context);
    case READ: return plan_part_read(part, context);
    case SHARED_HELD: return plan_part_shared_held(part, context, shared);
    default: return plan_part_shared_read(part, context, shared);
    }
}

/* The part of a part that one rank of a tensor group has: each head has one rank, or several copies. */
static double rank_share(const struct plan_kv_part *part, const struct plan_load *load) {
    double split = part->is_split ? fmin(load->tp, part->n_rows) : 1;
    return 1 / (split * load->pp * load->cp);
}

double plan_kv_bytes(const struct plan_model *model, const struct plan_kv_format *format, double context) {
    double bytes = 0;
    for (uint32_t i = 0; i < model->n_kv_parts; i++)
        bytes += entry_bytes(&model->kv_parts[i], format) * plan_part_held(&model->kv_parts[i], context);
    return bytes;
}

double plan_state_bytes(const struct plan_model *model) {
    const struct plan_state *state = &model->state;
    return state->n_layers * (state->elements * STATE_BYTES + state->conv_elements * CONV_BYTES);
}

double plan_kv_bytes_simplified(const struct plan_model *model, const struct plan_kv_format *format,
                                double context, double users) {
    return 2 * users * context * model->n_layers * model->d_model * format->nominal_bytes;
}

static double device_bytes(const struct plan_model *model, const struct plan_load *load, enum entries entries,
                           double context) {
    double bytes = 0;
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        bytes += entry_bytes(part, load->kv) * entries_of(part, entries, context, load->shared_tokens) *
                 rank_share(part, load);
    }
    return bytes;
}

double plan_kv_device_bytes(const struct plan_model *model, const struct plan_load *load, double context) {
    return device_bytes(model, load, HELD, context);
}

double plan_kv_device_read_bytes(const struct plan_model *model, const struct plan_load *load,
                                 double context) {
    return device_bytes(model, load, READ, context);
}

double plan_kv_device_shared_bytes(const struct plan_model *model, const struct plan_load *load,
                                   double context) {
    return device_bytes(model, load, SHARED_HELD, context);
}

double plan_kv_device_shared_read_bytes(const struct plan_model *model, const struct plan_load *load,
                                        double context) {
    return device_bytes(model, load, SHARED_READ, context);
}

/* Over all devices, each row once. */
static double shared_bytes(const struct plan_model *model, const struct plan_load *load) {
    double bytes = 0;
    for (uint32_t i = 0; i < model->n_kv_parts; i++) {
        const struct plan_kv_part *part = &model->kv_parts[i];
        bytes += entry_bytes(part, load->kv) *
                 plan_part_shared_held(part, load->context_tokens, load->shared_tokens);
    }
    return bytes;
}

double plan_state_device_bytes(const struct plan_model *model, const struct plan_load *load) {
    return plan_state_bytes(model) / ((double)load->tp * load->pp);
}

/* Of a rank with so many users: rows of a step's largest activations, twice (in and out), in BF16, and logits
 * in F32; prompts come in chunks of at most 2,048 tokens. */
static double activation_bytes(const struct plan_model *model, const struct plan_load *load, double users) {
    const double rows = fmax(users, fmin(load->prompt_tokens, 2048));
    const double ffn = fmax(model->n_ff, (double)model->experts.n_ff * model->experts.n_per_token);
    const double width =
        4.0 * model->d_model + 2 * fmax(ffn, (double)model->n_heads * model->head_dim) / load->tp;
    return rows * width * 2 + users * model->n_vocab * 4.0 / load->tp;
}

/* What the system and the engine's own machinery take: aiconfigurator's tables of systems for GPUs (3.5 GiB,
 * and NCCL's buffers for groups), a twentieth for machines that share their memory with all else. */
static double reserved_bytes(const struct plan_hardware *hardware, const struct plan_load *load,
                             struct plan_assumptions *assumptions) {
    if (hardware->device == PLAN_DEVICE_concept || load->engine == PLAN_ENGINE_ideal) return 0;
    if (hardware->device == PLAN_DEVICE_cpu || hardware->device == PLAN_DEVICE_apu) {
        plan_assume(assumptions, "a twentieth of the memory is the system's");
        return hardware->memory_bytes / 20;
    }
    const double gpu = 3758096384.0, groups = load->tp >= 4 ? 411041792.0 : load->tp >= 2 ? 358612992.0 : 0;
    if (load->engine == PLAN_ENGINE_server && hardware->memory_bytes > 4 * gpu) {
        plan_assume(assumptions, "3.5 GiB of each device are the engine's and the driver's%s",
                    groups > 0 ? ", and buffers of collectives" : "");
        return gpu + groups;
    }
    plan_assume(assumptions, "a twentieth of each device's memory is the engine's and the driver's");
    return hardware->memory_bytes / 20;
}

/* Cache and state of `users` of one rank on its fullest device. */
static double users_device_bytes(const struct plan_model *model, const struct plan_load *load, double users,
                                 double context) {
    return users * (plan_kv_device_bytes(model, load, context) + plan_state_device_bytes(model, load)) -
           (users - 1) * plan_kv_device_shared_bytes(model, load, context);
}

struct room {
    const struct plan_model *model;
    const struct plan_load *load; /* users and context of their own below */
    double bytes;                 /* for caches and activations, on one device */
};

static bool has_room(const struct room *room, double rank_users, double context) {
    return users_device_bytes(room->model, room->load, rank_users, context) +
               activation_bytes(room->model, room->load, rank_users) <=
           room->bytes;
}

/* The most users of a rank at `fixed` tokens, or the most tokens of `fixed` users. */
static double most(const struct room *room, bool of_users, double fixed) {
    const double no_end = 1e12;
    double low = 0, high = 1;
    while (high < no_end && has_room(room, of_users ? high : fixed, of_users ? fixed : high)) {
        low = high;
        high *= 2;
    }
    if (high >= no_end) return INFINITY;
    while (high - low > 1) {
        const double middle = floor(low + (high - low) / 2);
        if (has_room(room, of_users ? middle : fixed, of_users ? fixed : middle))
            low = middle;
        else
            high = middle;
    }
    return low;
}

void plan_memory_of(struct plan_memory *memory, const struct plan_model *model,
                    const struct plan_hardware *hardware, const struct plan_load *load,
                    struct plan_assumptions *assumptions) {
    const double users = plan_load_rank_users(load), ranks = (double)load->dp * load->replicas,
                 context = load->context_tokens;
    const double one = plan_kv_bytes(model, load->kv, context), shared = shared_bytes(model, load);
    *memory = (struct plan_memory){
        .weights = plan_weights_of(model, load),
        .kv_bytes_per_token = plan_kv_bytes_per_token(model, load->kv),
        .kv_bytes = load->users * one - fmax(0, load->users - ranks) * shared,
        .kv_device_bytes = users_device_bytes(model, load, users, context),
        .state_bytes = load->users * plan_state_bytes(model),
        .kv_bytes_simplified = plan_kv_bytes_simplified(model, load->kv, context, load->users),
        .activation_bytes = activation_bytes(model, load, users),
        .reserved_bytes = reserved_bytes(hardware, load, assumptions),
        .capacity_bytes = hardware->memory_bytes,
    };
    if (memory->state_bytes > 0)
        plan_assume(assumptions, "recurrent state is kept in F32, convolutions' in BF16");
    const double fixed = memory->weights.device_bytes + memory->reserved_bytes;
    memory->device_bytes = fixed + memory->activation_bytes + memory->kv_device_bytes;
    const struct room room = {model, load, memory->capacity_bytes - fixed};
    memory->max_context_tokens = most(&room, false, users);
    memory->max_users = most(&room, true, context) * ranks;
}
