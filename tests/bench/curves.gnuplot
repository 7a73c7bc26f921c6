# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# gnuplot -e "svg='FILE'; data='DIRECTORY'; machine='TEXT'" curves.gnuplot
set terminal svg size 1000,1500 font "sans-serif,12" background rgb "white"
set output svg
set multiplot layout 4,2 title machine font ",13"
set style data yerrorlines
set style line 1 lc rgb "#1f5fa8" lw 1.5 pt 7 ps 0.4
set style line 2 lc rgb "#b04a1c" lw 1.5 pt 5 ps 0.4
set ylabel "ns more than empty programs"
set yrange [0:*]
set grid lc rgb "#dddddd"
set key top left

set xlabel "options"
plot data."/options" using 1:2:3:4 ls 1 title "sockpol", data."/options-by-hand" using 1:2:3:4 ls 2 title "by hand, eight"
set xlabel "policies that apply"
plot data."/applying" using 1:2:3:4 ls 1 title "eight options"
set xlabel "rules, each with its prefix"
plot data."/rules" using 1:2:3:4 ls 1 title "eight options"
set logscale x 10
set xlabel "prefixes of a rule, random peers (UDP)"
plot data."/prefixes" using 1:2:3:4 ls 1 title "one option"
set xlabel "depth of the cgroup below the attachment"
unset logscale x
plot data."/depth" using 1:2:3:4 ls 1 title "eight options"
set logscale x 10
set xlabel "policies in all"
plot data."/policies" using 1:2:3:4 ls 1 title "eight options"
set xlabel "cgroups"
plot data."/cgroups" using 1:2:3:4 ls 1 title "eight options"
set xlabel "cgroups that connect in turns, each with its policy"
plot data."/busy" using 1:2:3:4 ls 1 title "eight options, one connection at a time"
unset multiplot
