#include "plan/offload.h"

#include <math.h>

#include "plan/matrix.h"
#include "plan/memory.h"
#include "plan/prefill.h"
#include "plan/serving.h"

/* Of the host when nobody says: FlexGen's machine had 208 GB and an SSD of 2 GB/s. */
static const double HOST_BYTES = 2e11, DISK_BANDWIDTH = 2e9;
/* Of the device's memory for weights and cache; of the link's bandwidth that pinned copies reach; of the
 * device's own bandwidth. */
static const double DEVICE_SHARE = 0.85, LINK_SHARE = 0.72, BANDWIDTH_SHARE = 0.7;

struct plan_spill plan_spill_of(const struct plan_hardware *hardware, double bytes,
                                struct plan_assumptions *assumptions) {
    struct plan_spill spill = {.device_bytes = fmin(bytes, DEVICE_SHARE * hardware->memory_bytes)};
    spill.host_bytes = fmin(bytes - spill.device_bytes, HOST_BYTES);
    spill.disk_bytes = bytes - spill.device_bytes - spill.host_bytes;
    if (spill.host_bytes > 0) plan_assume(assumptions, "the host has 200 GB of memory for what does not fit");
    if (spill.disk_bytes > 0) plan_assume(assumptions, "the disk reads 2 GB/s");
    return spill;
}

double plan_offload_batch_seconds(const struct plan_model *model, const struct plan_hardware *hardware,
                                  const struct plan_load *load, struct plan_assumptions *assumptions) {
    const double users = plan_load_rank_users(load), context = load->prompt_tokens + load->output_tokens / 2;
    const double bytes = plan_weights_of(model, load).device_bytes +
                         users * plan_kv_device_bytes(model, load, fmax(1, context));
    const struct plan_spill spill = plan_spill_of(hardware, bytes, assumptions);
    if (spill.host_bytes == 0) return plan_static_batch_seconds(model, hardware, load, assumptions);
    const double link = hardware->host_bandwidth > 0 ? hardware->host_bandwidth : 1.5e10;
    const double moved = spill.host_bytes / (LINK_SHARE * link) + spill.disk_bytes / DISK_BANDWIDTH;
    const double step = spill.device_bytes / (BANDWIDTH_SHARE * plan_peak_bandwidth(hardware)) + moved;
    const double prefill =
        plan_prefill_of(model, hardware, load, load->prompt_tokens, 0, users, assumptions).seconds;
    return prefill + moved + load->output_tokens * step;
}
