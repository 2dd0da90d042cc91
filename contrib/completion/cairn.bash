# SPDX-License-Identifier: MIT
# Completion of cairn's commands and their arguments for bash, by the daemon that answers; put it
# into /usr/share/bash-completion/completions/cairn or source it.

_cairn() {
	local line=${COMP_LINE:0:COMP_POINT} cur words=() args=() options=() i
	cur=${line##* }
	# bash splits at '=' and ':'; the words are what blanks divide.
	read -ra words <<<"$line"
	[[ -n $cur ]] && unset 'words[-1]'
	for ((i = 1; i < ${#words[@]}; i++)); do
		case ${words[i]} in
		-s | --socket) options+=(-s "${words[++i]}") ;;
		-*) options+=("${words[i]}") ;;
		*) args+=("${words[i]}") ;;
		esac
	done
	if [[ ${words[-1]} == -s || ${words[-1]} == --socket ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
	fi
	if [[ $cur == -* && ${#args[@]} == 0 ]]; then
		mapfile -t COMPREPLY < <(compgen -W '--help --socket --version' -- "$cur")
		return
	fi
	case ${args[0]} in
	graph) mapfile -t COMPREPLY < <(compgen -W '--dot' -- "$cur") ;;
	jobs) mapfile -t COMPREPLY < <(compgen -W '--watch' -- "$cur") ;;
	*)
		mapfile -t COMPREPLY < <("${words[0]}" "${options[@]}" complete "${args[@]}" "$cur" 2>/dev/null)
		;;
	esac
	[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=.] ]] && compopt -o nospace
	# readline replaces only what follows the last '=': give it no more than that.
	if [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then
		local before=${cur%"${cur##*=}"}
		COMPREPLY=("${COMPREPLY[@]#"$before"}")
	fi
}

complete -F _cairn cairn
