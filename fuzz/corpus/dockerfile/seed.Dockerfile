# syntax=docker/dockerfile:1
# escape=\
ARG V=1 W
FROM --platform=$BUILDPLATFORM a:${V:-x} AS Build
ARG V
ENV A=1 B="x $V" C=${A#x}
ENV OLD way
RUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s,env=E --network=none \
    # comment

    make $X
RUN <<EOF cat 3<<-"two"
echo
EOF
	x
	two
COPY --from=build --chown=1:2 --link <<one b /c/
$V
one
ADD ["a b", "/d"]
HEALTHCHECK --interval=1s CMD ["a"]
ONBUILD RUN x
SHELL ["sh", "-c"]
EXPOSE 80/tcp
VOLUME /a b
CMD x
