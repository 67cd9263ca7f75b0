#!/bin/sh
# The table of analysis/scaling.py, of a bench that tells known numbers, and its errors. Needs
# MR_SOURCE_DIR.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# On n ranks 100 n - 10 (n - 1) tokens a second, and a share of the products that falls by n - 1 %.
# All runs are counted.
cat >launch <<'END'
#!/bin/sh
[ "$1" = -n ] && [ "$3" = ./mora ] && [ "$4 $5 $6 $7" = "bench --json --batch 2" ] || exit 3
[ "$2" -lt 8 ] || exit 1
echo "$2" >>runs
cat <<JSON
[{"method": "fft", "tokens_per_second": $((100 * $2 - 10 * ($2 - 1))).0,
  "ratio_to_gemm": 0.$((81 - $2)), "ratio_to_gemm_at_once": 0.80,
  "phase_seconds": {"linears": 0.97, "communication": 0.01, "waiting": 0.02}}]
JSON
END
chmod +x launch

scaling="python3 $MR_SOURCE_DIR/analysis/scaling.py ./mora"
$scaling 1,2,4 --rounds 2 --mpirun ./launch -- --batch 2 >table
cat >expected <<'END'
method    ranks   tokens/s   times  of best  of gemm  to first  at once  to first  communication  waiting
fft           1      100.0    1.00   100.0%    80.0%      1.00    80.0%      1.00          1.00%    2.00%
fft           2      190.0    1.90    95.0%    79.0%      0.99    80.0%      1.00          1.00%    2.00%
fft           4      370.0    3.70    92.5%    77.0%      0.96    80.0%      1.00          1.00%    2.00%
END
diff expected table
[ "$(tr '\n' ' ' <runs)" = "1 2 4 1 2 4 " ]
rm runs
$scaling 1,2 --rounds 1 --warm 0.001 --mpirun ./launch -- --batch 2 >table
[ "$(tr '\n' ' ' <runs)" = "2 1 2 " ]

fail() {
    if $scaling "$@" >/dev/null 2>errors; then
        echo "no failure: $*"
        exit 1
    fi
    grep -q "$message" errors || { cat errors; exit 1; }
}
message="./launch -n 8 ./mora bench --json --batch 2: exit code 1"
fail 8 --mpirun ./launch -- --batch 2
message="cannot start './absent': No such file"
fail 1 --mpirun ./absent
message="expected numbers of ranks as 1,2,4, and rounds, from 1 on; found 1,x"
fail 1,x
