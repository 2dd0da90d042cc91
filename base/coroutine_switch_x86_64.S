/* SPDX-License-Identifier: MIT */
/*
 * The switch between stacks for x86-64, System V ABI.
 *
 * A suspended stack holds, from its pointer upwards: r15, r14, r13, r12, rbx,
 * rbp, and the address to go on at. We go on by an indirect jump: a ret would
 * always be mispredicted, for the return address that the processor remembers
 * is that of another stack. MXCSR and the x87 control word stay as they are.
 *
 * No shadow-stack property note: the linker then leaves shadow stacks off,
 * which could not follow this switch.
 */
	.text

/* void co_switch_stack(void **save_sp [rdi], void *sp [rsi]) */
	.globl	co_switch_stack
	.hidden	co_switch_stack
	.type	co_switch_stack, @function
	.p2align 4
co_switch_stack:
	.cfi_startproc
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	/* From here on the same unwinding rules describe the other stack. */
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	jmp	*%rcx
	.cfi_endproc
	.size	co_switch_stack, . - co_switch_stack

/* The bottom of each stack: rbx holds the function, r12 its argument. */
	.type	first_frame, @function
	.p2align 4
first_frame:
	.cfi_startproc
	.cfi_undefined %rip	/* backtraces end here */
	movq	%r12, %rdi
	callq	*%rbx
	ud2
	.cfi_endproc
	.size	first_frame, . - first_frame

/* void *co_switch_first_frame(void *top [rdi], void (*fn)(void *) [rsi], void *arg [rdx]) */
	.globl	co_switch_first_frame
	.hidden	co_switch_first_frame
	.type	co_switch_first_frame, @function
	.p2align 4
co_switch_first_frame:
	.cfi_startproc
	andq	$-16, %rdi
	leaq	first_frame(%rip), %rax
	/* After the switch rsp is top - 16: aligned for the call above. */
	movq	%rax, -24(%rdi)
	movq	$0, -32(%rdi)		/* rbp */
	movq	%rsi, -40(%rdi)		/* rbx */
	movq	%rdx, -48(%rdi)		/* r12 */
	movq	$0, -56(%rdi)		/* r13 */
	movq	$0, -64(%rdi)		/* r14 */
	movq	$0, -72(%rdi)		/* r15 */
	leaq	-72(%rdi), %rax
	ret
	.cfi_endproc
	.size	co_switch_first_frame, . - co_switch_first_frame

	.section .note.GNU-stack, "", @progbits
