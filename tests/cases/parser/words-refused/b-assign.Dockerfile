FROM scratch
ENV PWD=/home SHELL=bash KOREAN=한국어 NULL= STR=foobarbaz ST=/a//b S2=foo*bar? S3=()[]{}^$.*?|\ex U=👽🚀🖖
ENV X=he${PWD=000}
