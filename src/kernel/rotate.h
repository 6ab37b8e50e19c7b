/* The rotation that codecs of few bits want (codec.h): a Walsh-Hadamard transform of blocks as long as the
 * largest power of two that divides the head size, scaled to be orthonormal. It is symmetric: its own
 * inverse. */
#ifndef CABINET_KERNEL_ROTATE_H
#define CABINET_KERNEL_ROTATE_H

/* Every instruction set's result, bit for bit. */
void rotate(float *head, unsigned head_dim);

#endif
