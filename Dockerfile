# vgm2p with the tested packages (constraints.txt). `docker build -t vgm2p .`; docs/install.md says how to use it.
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
# The index of PyTorch: https://download.pytorch.org/whl/cpu, or that of a version of CUDA, such as .../whl/cu128.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# What MuJoCo needs to draw videos without a display.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libegl1 libgl1 libosmesa6 \
    && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /wheels/
COPY --from=wheel /wheels/*.whl /wheels/
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c /wheels/constraints.txt \
        "$(echo /wheels/*.whl)[video,joblib,vault]" \
    && rm -rf /wheels
# The results of a run do not belong to root.
RUN useradd --create-home --uid 1000 vgm2p
USER vgm2p
WORKDIR /home/vgm2p
ENV MUJOCO_GL=osmesa VGM2P_DATA=/home/vgm2p/data VGM2P_CACHE=/home/vgm2p/cache PYTHONUNBUFFERED=1
ENTRYPOINT ["vgm2p"]
CMD ["--help"]
