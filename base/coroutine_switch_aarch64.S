/* SPDX-License-Identifier: MIT */
/*
 * The switch between stacks for aarch64, AAPCS64.
 *
 * A suspended stack holds, from its pointer upwards: x19 to x28, the frame
 * pointer, the address to go on at, and d8 to d15 (the low halves that a callee
 * keeps). We go on by an indirect jump rather than ret, because the return
 * address that the processor remembers is that of another stack. FPCR stays as
 * it is.
 */
#define FRAME_SIZE 160

	.text

/* void co_switch_stack(void **save_sp [x0], void *sp [x1]) */
	.globl	co_switch_stack
	.hidden	co_switch_stack
	.type	co_switch_stack, %function
	.p2align 4
co_switch_stack:
	.cfi_startproc
	sub	sp, sp, #FRAME_SIZE
	.cfi_adjust_cfa_offset FRAME_SIZE
	stp	x19, x20, [sp, #0]
	stp	x21, x22, [sp, #16]
	stp	x23, x24, [sp, #32]
	stp	x25, x26, [sp, #48]
	stp	x27, x28, [sp, #64]
	stp	x29, x30, [sp, #80]
	.cfi_rel_offset x29, 80
	.cfi_rel_offset x30, 88
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	/* From here on the same unwinding rules describe the other stack. */
	ldp	x19, x20, [sp, #0]
	ldp	x21, x22, [sp, #16]
	ldp	x23, x24, [sp, #32]
	ldp	x25, x26, [sp, #48]
	ldp	x27, x28, [sp, #64]
	ldp	x29, x30, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	add	sp, sp, #FRAME_SIZE
	.cfi_adjust_cfa_offset -FRAME_SIZE
	.cfi_restore x29
	.cfi_restore x30
	br	x30
	.cfi_endproc
	.size	co_switch_stack, . - co_switch_stack

/* The bottom of each stack: x19 holds the function, x20 its argument. */
	.type	first_frame, %function
	.p2align 4
first_frame:
	.cfi_startproc
	.cfi_undefined x30	/* backtraces end here */
	mov	x0, x20
	blr	x19
	brk	#1
	.cfi_endproc
	.size	first_frame, . - first_frame

/* void *co_switch_first_frame(void *top [x0], void (*fn)(void *) [x1], void *arg [x2]) */
	.globl	co_switch_first_frame
	.hidden	co_switch_first_frame
	.type	co_switch_first_frame, %function
	.p2align 4
co_switch_first_frame:
	.cfi_startproc
	and	x0, x0, #-16
	sub	x0, x0, #FRAME_SIZE
	adr	x9, first_frame
	stp	x1, x2, [x0, #0]
	stp	xzr, x9, [x0, #80]
	ret
	.cfi_endproc
	.size	co_switch_first_frame, . - co_switch_first_frame

	.section .note.GNU-stack, "", %progbits
