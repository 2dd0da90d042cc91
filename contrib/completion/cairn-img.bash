# SPDX-License-Identifier: MIT
# Completion of cairn-img's commands and options for bash; put it into
# /usr/share/bash-completion/completions/cairn-img or source it.

_cairn_img() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands=() words=
	mapfile -t commands < <(cairn-img --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')

	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "${commands[*]} --help --version" -- "$cur")
		return
	fi
	case $prev in
	-f | -F | -O)
		words=$(cairn-img --help 2>/dev/null | sed -n 's/^Supported formats: //p')
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
		return
		;;
	-t | -T)
		mapfile -t COMPREPLY < <(compgen -W 'none writeback writethrough directsync unsafe' -- "$cur")
		return
		;;
	-r)
		if [[ ${COMP_WORDS[1]} == check ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'leaks all' -- "$cur")
			return
		fi
		;;
	esac
	if [[ $cur == -* ]]; then
		# The usage of the command names its options.
		words=$(cairn-img "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -- '--\?[A-Za-z][a-z-]*' | sort -u)
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -o filenames -F _cairn_img cairn-img
