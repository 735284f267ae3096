# Joins benchmark output with targets: each line of the first file is "benchmark, as a regular expression | unit | target | what it is".
# Times (ns/op) are printed in milliseconds.
FNR == NR {
	if ($0 !~ /^#/ && split($0, f, / *\| */) == 4) { n++; name[n] = f[1]; unit[n] = f[2]; target[n] = f[3]; what[n] = f[4] }
	next
}
/^Benchmark/ {
	id = $1
	sub(/-[0-9]+$/, "", id)
	for (i = 3; i < NF; i += 2)
		for (k = 1; k <= n; k++)
			if ($(i + 1) == unit[k] && id ~ "^Benchmark(" name[k] ")$") { seen[k] = seen[k] (seen[k] == "" ? "" : ", ") (id ~ /\// ? substr(id, index(id, "/") + 1) " " : "") ($(i + 1) == "ns/op" ? sprintf("%.3g", $i / 1e6) : $i) }
}
END {
	printf "%-72s %-12s %s\n", "figure", "target", "measured"
	for (k = 1; k <= n; k++) if (seen[k] != "") printf "%-72s %-12s %s\n", what[k] " (" (unit[k] == "ns/op" ? "ms" : unit[k]) ")", target[k], seen[k]
}
