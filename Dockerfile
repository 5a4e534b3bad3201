# The worker and the command line, in an image without compilers and without pip's leavings.
# Both locks carry hashes: what is not what we tested is not installed.

FROM python:3.11.15-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all:

# Dependencies change less often than we do: a layer of their own.
COPY requirements.runtime.lock /build/
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv install --require-hashes --no-deps \
        --requirement /build/requirements.runtime.lock

COPY requirements.build.lock /build/
RUN python -m pip install --require-hashes --no-deps --requirement /build/requirements.build.lock

COPY . /build/
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /build/dist /build \
    && python -m pip --python /venv install --no-deps --no-index /build/dist/*.whl


FROM python:3.11.15-slim-bookworm

ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

RUN groupadd --gid 10001 fulgurite \
    && useradd --uid 10001 --gid fulgurite --no-create-home --shell /usr/sbin/nologin fulgurite

COPY --from=build /venv /venv

USER 10001:10001
EXPOSE 9464 9465
HEALTHCHECK --interval=15s --timeout=20s --retries=3 --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9465/readyz', timeout=18)"]
ENTRYPOINT ["fulgurite-worker"]
