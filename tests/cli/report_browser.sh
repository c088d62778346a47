#!/bin/sh
# report_browser.sh - a report in headless Chromium: it asks the network for nothing, and light and dark differ.
here=$(dirname "$0")
. "$here/lib.sh"
for name in chromium chromium-browser google-chrome; do
    browser=$(command -v $name) && break
done
[ -n "${browser:-}" ] || { echo 'skipped: there is no Chromium'; exit 77; }
"$here/rows.py" 24 16 >"$tmp/rows.jsonl"
run train -m "$QL_TEST_DATA/models/tiny-llama" --dataset "$tmp/rows.jsonl" --dataset_format tokens --lora_r 4 \
    --output_dir "$tmp/run" --max_steps 12 --save_steps 0 --logging_steps 1 --run_name '<img src=http://192.0.2.1/x.png>'
expect_rc 0
for scheme in 0 1; do # 0 = dark, 1 = light
    last="$browser, scheme $scheme"
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-background-networking \
        --user-data-dir="$tmp/profile$scheme" --log-net-log="$tmp/net$scheme.json" --window-size=500,900 \
        --blink-settings=preferredColorScheme=$scheme --screenshot="$tmp/shot$scheme.png" \
        "file://$tmp/run/report.html" >"$tmp/out" 2>"$tmp/err"
    rc=$?
    expect_rc 0
    [ "$(wc -c <"$tmp/shot$scheme.png")" -gt 10000 ] || fail 'the picture should show something'
    grep -q '192\.0\.2\.1' "$tmp/net$scheme.json" && fail 'the page asked the network for something'
done
cmp -s "$tmp/shot0.png" "$tmp/shot1.png" && fail 'light and dark should differ'
finish
